"""Choose the model with the operator: its server, the key, and a name that the server knows."""

from __future__ import annotations

import os
from typing import IO, NamedTuple

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken
from wxgpt.setup import checks, trial
from wxgpt.setup.providers import PROVIDERS, Provider
from wxgpt.setup.questions import Questions, confirmed, on_terminal, prompted
from wxgptd.config.encodings import decoded
from wxgptd.wording import reason, say

MOST_LISTED = 12


class Choice(NamedTuple):
    """The chosen model and the provider's preset."""

    preset: Provider
    base_url: str
    api_key: str
    model: str


def choose(questions: Questions) -> Choice:
    """Return the operator's choice, which was tried if there is a terminal."""
    preset = _provider(questions)
    while True:
        base_url = questions.value(
            "base_url", say("API address (base_url)"), preset.base_url, check=checks.base_url
        )
        api_key = _api_key(questions, preset)
        is_tried = on_terminal() and not questions.given["no_try"]
        server = trial.Server(base_url, api_key, preset.settings)
        offer = trial.offered(server) if is_tried else trial.Offer()
        if offer.rejected.why and _wants_to_correct(questions, offer.rejected):
            continue
        model = _model(questions, preset, offer.models)
        if not is_tried:
            return Choice(preset, base_url, api_key, model)
        click.echo(spoken("Trying the model (one token) ..."), err=True)
        tried = trial.one_token(server, model)
        if not tried.why:
            click.echo(spoken("It answers."), err=True)
            return Choice(preset, base_url, api_key, model)
        if offer.models and model not in offer.models and tried.blames != "api_key":
            tried = trial.not_offered(model)
        if not _wants_to_correct(questions, tried):
            return Choice(preset, base_url, api_key, model)


def _wants_to_correct(questions: Questions, tried: trial.Trial) -> bool:
    """Say what went wrong, and forget what is to blame if the operator wants to type it again."""
    click.echo(spoken("It does not answer: {why}", why=tried.why), err=True)
    if not confirmed(say("Type it again? (n: continue, and correct it later)")):
        return False
    questions.ask_again(*([tried.blames] if tried.blames else trial.ANSWERS))
    return True


def _provider(questions: Questions) -> Provider:
    if not questions.given["provider"] and questions.given["base_url"]:
        return PROVIDERS["other"]
    if not questions.given["provider"] and on_terminal() and not questions.is_kept("provider"):
        click.echo(spoken("Which provider? A name or number"), err=True)
        for number, (name, provider) in enumerate(PROVIDERS.items(), 1):
            click.echo(f"  {number:>2}  {name:<12} {shown(provider.title)}", err=True)
    name = questions.answer("provider", say("Provider"), checks.provider, "deepseek")
    return PROVIDERS[name]


def _model(questions: Questions, preset: Provider, offered: tuple[str, ...]) -> str:
    default = default_of(preset, offered)
    is_needed = not default or not questions.given["provider"] or questions.is_asked_again("model")
    if offered and is_needed and not questions.given["model"]:
        more = len(offered) - MOST_LISTED
        names = [*offered[:MOST_LISTED], *([spoken("and {n} more", n=more)] if more > 0 else [])]
        click.echo(spoken("The server offers: {names}", names=", ".join(names)), err=True)
    return questions.value("model", say("Model"), default, ask=is_needed, check=checks.model)


def default_of(preset: Provider, offered: tuple[str, ...]) -> str:
    """Return the model to propose, or an empty text: providers retire models and their names."""
    if not offered:
        return preset.models[0] if preset.models else ""
    return next((name for name in preset.models if name in offered), "")


def _api_key(questions: Questions, preset: Provider) -> str:
    file, again = questions.given["api_key_file"], questions.is_asked_again("api_key")
    if file is not None and not again:
        stream: IO[bytes] = file  # type: ignore[assignment]
        try:
            return checks.key(decoded(stream.read()).strip())
        except ValueError as error:
            raise UsageFailure(say("{name} {why}", name=stream.name, why=reason(error))) from None
    if (given := os.environ.get("WXGPT_API_KEY")) and not again:
        return checks.key(given.strip())
    if not preset.keys and not again:
        return ""
    if (kept := questions.kept("api_key", say("API key"), checks.key)) is not None:
        return kept
    if not on_terminal():
        raise UsageFailure(
            say("--api-key-file is missing, and there is no terminal to prompt on"),
            hint=say("or set WXGPT_API_KEY in the environment"),
        )
    click.echo(
        spoken(
            "API key, create one at: {keys}\n  (hidden while you paste it)",
            keys=shown(preset.keys),
        ),
        err=True,
    )
    return questions.keep("api_key", prompted(say("API key"), checks.key, None, hidden=True))
