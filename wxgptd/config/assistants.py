"""Mistakes in the tables of assistants."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from wxgptd.config.tables import Assistant, chat_command
from wxgptd.config.values import NAME, address_error, parse_http_url, revealed
from wxgptd.domain.intake import phrases
from wxgptd.wording import say

MAX_TITLE_CHARS = 40


def mistakes(name: str, assistant: Assistant) -> Iterator[str]:
    """Yield every mistake in the table of an assistant, each with its key."""
    where = f"assistant.{name}"
    if not NAME.fullmatch(name):
        yield say("{where}: a name consists of letters, digits, - and _", where=where)
    command = chat_command(name, assistant)
    if not command.startswith("/") or len(command.split()) != 1 or len(command) < 2:
        yield say(
            '{where}.command: must be a single word that begins with a slash, not "{command}"',
            where=where,
            command=command,
        )
    elif command in phrases.RESERVED:
        yield say("{where}.command: {command} is a built-in command", where=where, command=command)
    title = assistant.title
    if not title.strip() or len(title) > MAX_TITLE_CHARS or not title.isprintable():
        yield say(
            "{where}.title: must have 1 to {max_title_chars} characters, on one line",
            where=where,
            max_title_chars=MAX_TITLE_CHARS,
        )
    if not assistant.base_url:
        yield say(
            '{where}.base_url: is missing; for example "https://api.openai.com/v1"', where=where
        )
    elif (address := parse_http_url(assistant.base_url)) is None:
        yield say(
            "{where}.base_url: {address_error}",
            where=where,
            address_error=address_error(assistant.base_url),
        )
    elif address.username is not None:
        yield say(
            "{where}.base_url: must not contain a user name or password; use api_key", where=where
        )
    if not assistant.choice:
        yield say("{where}.model: is missing; it is the provider's name for the model", where=where)
    if re.match(r"bearer\s", revealed(assistant.api_key), re.IGNORECASE):
        yield say(
            "{where}.api_key: begins with Bearer, which wxgptd adds automatically: remove it",
            where=where,
        )
    elif re.search(r"[^\x21-\x7e]", revealed(assistant.api_key)):
        yield say(
            "{where}.api_key: contains a character that no API key has (a space or a newline?)",
            where=where,
        )
    if assistant.max_tokens < 1:
        yield say("{where}.max_tokens: must be 1 or more", where=where)
    yield from _request_mistakes(where, assistant)
    if assistant.fit not in ("off", "window"):
        yield say(
            '{where}.fit: must be "off" or "window", not "{fit}"', where=where, fit=assistant.fit
        )
    yield from _number_mistakes(where, assistant)


def _number_mistakes(where: str, assistant: Assistant) -> Iterator[str]:
    for key in ("max_context_tokens", "daily_budget", "max_running"):
        if getattr(assistant, key) < 0:
            yield say("{where}.{key}: must be 0 (none) or more", where=where, key=key)
    for key in ("input", "output"):
        if getattr(assistant.price_per_million, key) < 0:
            yield say("{where}.price_per_million.{key}: must be 0 or more", where=where, key=key)
    for key in ("first_text_timeout", "idle_timeout", "total_timeout"):
        if getattr(assistant, key) <= 0:
            yield say("{where}.{key}: must be more than 0", where=where, key=key)


_OWN_KEYS = frozenset({"model", "messages", "stream"})
_OWN_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "te",
        "trailer", "transfer-encoding", "upgrade", "user-agent",
    }
)  # fmt: skip


def _proxy_mistakes(where: str, proxy: str) -> Iterator[str]:
    address = parse_http_url(proxy)
    scheme = proxy.partition("://")[0].lower()
    if scheme.startswith("socks"):
        yield say(
            "{where}: SOCKS proxies ({scheme}://) are not supported; give the address of "
            "an HTTP proxy, which most proxy programs offer on a separate port",
            where=where,
            scheme=scheme,
        )
    elif address is None or address.scheme != "http":
        yield say(
            "{where}: must be like http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT", where=where
        )


def _request_mistakes(where: str, assistant: Assistant) -> Iterator[str]:
    if assistant.auth not in ("bearer", "api-key"):
        yield say(
            '{where}.auth: must be "bearer" or "api-key" (Azure), not "{auth}"',
            where=where,
            auth=assistant.auth,
        )
    if assistant.temperature is not None and not 0 <= assistant.temperature <= 2:
        yield say(
            "{where}.temperature: must be from 0 to 2, not {temperature:g}",
            where=where,
            temperature=assistant.temperature,
        )
    if assistant.top_p is not None and not 0 < assistant.top_p <= 1:
        yield say(
            "{where}.top_p: must be more than 0 and at most 1, not {top_p:g}",
            where=where,
            top_p=assistant.top_p,
        )
    if assistant.seed is not None and assistant.seed != int(assistant.seed):
        yield say("{where}.seed: must be a whole number", where=where)
    if assistant.proxy:
        yield from _proxy_mistakes(f"{where}.proxy", revealed(assistant.proxy, "http://proxy"))
    for name in sorted(_OWN_KEYS & assistant.extra_body.keys()):
        yield say("{where}.extra_body.{name}: is set by wxgptd itself", where=where, name=name)
    try:
        json.dumps(assistant.extra_body, allow_nan=False)
    except (TypeError, ValueError):
        yield say(
            "{where}.extra_body: contains a date or a number that JSON cannot represent",
            where=where,
        )
    for name, value in assistant.extra_headers.items():
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", name) or not re.fullmatch(
            r"[\x20-\x7e]{0,4096}", revealed(value)
        ):
            yield say(
                "{where}.extra_headers.{name}: needs a valid name and a printable ASCII value",
                where=where,
                name=name,
            )
        elif name.lower() in _OWN_HEADERS:
            yield say(
                "{where}.extra_headers.{name}: is set by wxgptd itself", where=where, name=name
            )
        elif name.lower() in ("authorization", "api-key") and assistant.api_key:
            yield say(
                "{where}.extra_headers.{name}: is already set by api_key", where=where, name=name
            )
    for model in assistant.choice:
        if model != " ".join(model.split()) or not model:
            yield say(
                "{where}.models: contains a name that users cannot type: {model!r}",
                where=where,
                model=model,
            )
    folded = [model.lower() for model in assistant.choice]
    if len(set(folded)) < len(folded):
        yield say("{where}.models: contains names that differ only in case", where=where)
