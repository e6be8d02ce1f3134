"""Choose the model with the operator: its server, the key, and a name that the server knows."""

from __future__ import annotations

import os
from typing import IO, NamedTuple

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken
from wxgpt.setup import checks, trial
from wxgpt.setup.providers import PROVIDERS, Price, Provider
from wxgpt.setup.questions import Questions, confirmed, on_terminal, prompted
from wxgptd.config.encodings import decoded
from wxgptd.wording import reason, say

MOST_LISTED = 12
OF_THE_PROVIDER = (
    "base_url", "api_key", "model", "proposal", "price", "daily_budget", "questions_per_day",
)  # fmt: skip
"""The answers that another provider makes void: above all, no key is sent to another company."""


class Choice(NamedTuple):
    """The chosen model and the provider's preset."""

    preset: Provider
    base_url: str
    api_key: str
    model: str

    @property
    def price(self) -> Price:
        """The model's price, or a cautious one if it is not known."""
        return self.preset.price_of(self.model)


def choose(questions: Questions) -> Choice:
    """Return the operator's choice, which was tried if there is a terminal."""
    preset = _provider(questions)
    given_key = _given_key(questions)
    while True:
        base_url = _base_url(questions, preset)
        api_key = _api_key(questions, preset, given_key)
        is_tried = on_terminal() and not questions.given["no_try"]
        server = trial.Server(base_url, api_key, preset.settings)
        offer = trial.offered(server) if is_tried else trial.Offer()
        if offer.rejected.why:
            if _wants_to_correct(questions, offer.rejected):
                continue
            is_tried = False  # the operator knows
        choice = Choice(preset, base_url, api_key, _model(questions, preset, offer))
        if not is_tried:
            return choice
        click.echo(spoken("Trying the model (one token) ..."), err=True)
        tried = trial.one_token(server, choice.model)
        if not tried.why:
            click.echo(spoken("It answers."), err=True)
            return choice
        if not _wants_to_correct(questions, offer.explain(tried, choice.model)):
            return choice


def _wants_to_correct(questions: Questions, tried: trial.Trial) -> bool:
    """Say what went wrong, and return whether what is to blame is typed again.

    A key is typed here, hidden; the rest is asked for in the next round.
    """
    click.echo(spoken("It does not work: {why}", why=tried.why), err=True)
    if tried.blames == "api_key":
        typed = prompted(
            say("API key (empty: continue, and correct it later)"),
            lambda answer: checks.key(answer) if answer else "",
            "",
            hidden=True,
            show_default=False,
        )
        if typed:
            questions.replace("api_key", typed)
        return bool(typed)
    if not confirmed(say("Type it again? (n: continue, and correct it later)")):
        return False
    questions.ask_again(*([tried.blames] if tried.blames else trial.ANSWERS))
    return True


def _provider(questions: Questions) -> Provider:
    if not questions.given["provider"] and questions.given["base_url"]:
        return PROVIDERS[questions.keep("provider", "other", voids=OF_THE_PROVIDER)]
    if not questions.given["provider"] and on_terminal() and not questions.is_kept("provider"):
        click.echo(spoken("Which provider? A name or number"), err=True)
        for number, (name, provider) in enumerate(PROVIDERS.items(), 1):
            click.echo(f"  {number:>2}  {name:<12} {shown(provider.title)}", err=True)
    name = questions.answer(
        "provider", say("Provider"), checks.provider, "deepseek", voids=OF_THE_PROVIDER
    )
    return PROVIDERS[name]


def _base_url(questions: Questions, preset: Provider) -> str:
    address = say("API address (base_url)")
    return questions.value(
        "base_url", address, checks.base_url, preset.base_url, voids=("api_key", "model")
    )


def _model(questions: Questions, preset: Provider, offer: trial.Offer) -> str:
    default = default_of(preset, offer)
    is_needed = not default or not questions.given["provider"] or questions.is_asked_again("model")
    if questions.given["model"] and not questions.is_asked_again("model"):
        is_needed = False
    elif offer.models and is_needed and not questions.is_kept("model"):
        more = len(offer.models) - MOST_LISTED
        names = list(offer.models[:MOST_LISTED])
        names += [spoken("and {n} more", n=more)] if more > 0 else []
        click.echo(spoken("The server offers: {names}", names=", ".join(names)), err=True)
    model = questions.value("model", say("Model"), checks.model, default, ask=is_needed)
    if on_terminal() and not is_needed:
        click.echo(spoken("Model: {model}", model=model), err=True)
    return model


def default_of(preset: Provider, offer: trial.Offer) -> str:
    """Return the model to propose, or an empty text: providers retire models and their names."""
    known = (name for name in preset.models if name in offer.names or not offer.names)
    return next(known, "")


def _given_key(questions: Questions) -> str | None:
    """Return the key from the option or from the environment."""
    if (file := questions.given["api_key_file"]) is not None:
        stream: IO[bytes] = file  # type: ignore[assignment]
        try:
            return checks.key(decoded(stream.read()).strip())
        except ValueError as error:
            raise UsageFailure(say("{name} {why}", name=stream.name, why=reason(error))) from None
    if given := os.environ.get("WXGPT_API_KEY"):
        return checks.key(given.strip())
    return None


def _api_key(questions: Questions, preset: Provider, given: str | None) -> str:
    again = questions.is_asked_again("api_key")
    if given is not None and not again:
        return given
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
