"""Settings that are allowed but probably unintended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from wxgptd.config.tables import Config, Price, Rule
from wxgptd.config.values import revealed
from wxgptd.wording import say


def doubts(config: Config) -> Iterator[str]:
    """Yield settings that are valid but probably unintended, each with its key."""
    host = urlsplit(config.server.public_url).hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        yield say(
            "server.public_url: no phone can open {public_url}", public_url=config.server.public_url
        )
    elif host.endswith("example.com"):
        yield say("server.public_url: {host} is an example, not your domain", host=host)
    yield from _of_accounts(config)
    yield from _of_rules(config.rule)
    yield from _of_assistants(config)


def _of_accounts(config: Config) -> Iterator[str]:
    for name, account in config.account.items():
        if revealed(account.token) in ("changeThisToken", "3To32LettersAndDigits"):
            yield say(
                "account.{name}.token: is the token from the example, which is public", name=name
            )
        if not account.aes_key:
            yield say(
                "account.{name}.aes_key: without one, messages travel in plain text", name=name
            )
    tokens: dict[str, str] = {}
    for name, account in config.account.items():
        other = tokens.setdefault(revealed(account.token), name)
        if other != name:
            yield (
                say(
                    "account.{name}.token: is the same as account {other}'s, so a request that "
                    "WeChat signed for one can be replayed to the other",
                    name=name,
                    other=other,
                )
            )


def _of_rules(rules: Sequence[Rule]) -> Iterator[str]:
    for number, rule in enumerate(rules, 1):
        if rule.match == "any" and rule.always:
            yield say(
                "rule.{number}: matches everything, even commands: no user can reach a model",
                number=number,
            )
        elif rule.match == "any" and number < len(rules) and not rule.account:
            unreached = [later for later in rules[number:] if not later.always]
            if unreached:
                yield say(
                    "rule.{number}: matches everything, so the rules after it are never reached",
                    number=number,
                )


def _of_assistants(config: Config) -> Iterator[str]:
    if config.limits.daily_budget:
        for name, assistant in config.assistant.items():
            if assistant.price_per_million == Price():
                yield say(
                    "assistant.{name}.price_per_million: is 0, so its answers use no budget",
                    name=name,
                )
    for name, assistant in config.assistant.items():
        for placeholder in re.findall(r"\{([a-z]+)\}", assistant.system_prompt):
            if placeholder not in ("date", "weekday", "account"):
                yield (
                    say(
                        "assistant.{name}.system_prompt: contains {{{placeholder}}}; only "
                        "{{date}}, {{weekday}} and {{account}} are filled in",
                        name=name,
                        placeholder=placeholder,
                    )
                )
        if assistant.fallback and assistant.first_token_within > 12:
            yield say(
                "assistant.{name}.first_token_within: leaves the fallback no time (15 s in all)",
                name=name,
            )
    for name, assistant in config.assistant.items():
        remote = urlsplit(assistant.base_url).scheme == "https"
        if revealed(assistant.api_key, "key").rstrip(".") in (("", "sk-") if remote else ("sk-",)):
            yield say(
                "assistant.{name}.api_key: is empty or the placeholder from the example", name=name
            )
