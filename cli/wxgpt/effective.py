"""Every value of a configuration, and where it comes from, with secrets masked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import attrs

from wxgptd.config import Config, Secret, read
from wxgptd.config.changes import fields
from wxgptd.loose import Given, JsonView

DEFAULT = "default"


class Value(NamedTuple):
    """One key's value, ready for JSON. `source` is `default`, the file, or what the file names."""

    key: str
    value: Given
    source: str


def values(config: Config, path: Path) -> Iterator[Value]:
    """Yield every effective value."""
    yield from _values("", config, tomllib.loads(read(path).removeprefix("\ufeff")), str(path))


def _values(key: str, value: Given, said: Given, path: str) -> Iterator[Value]:
    inner = _inner(value)
    if inner is None:
        yield Value(key, _masked(_shown(value)), _source(value, said, path))
        return
    for name, one in inner.items():
        known = said.get(name) if isinstance(said, Mapping) else None
        yield from _values(f"{key}.{name}" if key else name, one, known, path)


def _masked(value: Given, name: str = "") -> Given:
    """Return `value` with likely secrets masked: URLs' queries, and keys that suggest a secret.

    `name` is the value's key in a table that is passed through unchanged.
    """
    match value:
        case _ if re.search(r"(?i)key|token|secret|passw|auth", name):
            return "***"
        case dict():
            return {one: _masked(inner, str(one)) for one, inner in value.items()}
        case list():
            return [_masked(inner, name) for inner in value]
        case str():
            return re.sub(r"(?i)^(https?://[^?]*\?).+", r"\1***", value)
        case _:
            return value


def _inner(value: Given) -> JsonView | None:
    if isinstance(value, dict) and any(attrs.has(type(one)) for one in value.values()):
        return value
    return fields(value)


def _source(value: Given, said: Given, path: str) -> str:
    if said is None:
        return DEFAULT
    scheme, colon, _ = said.partition(":") if isinstance(said, str) else ("", "", "")
    if isinstance(value, Secret) and colon and scheme in ("env", "file", "credential"):
        return str(said)
    return path


def _shown(value: Given) -> Given:
    match value:
        case Secret():
            return "***" if value else ""
        case Path():
            return str(value)
        case tuple():
            return [_shown(one) for one in value]
        case dict():
            return {name: _shown(one) for name, one in value.items()}
        case _ if attrs.has(type(value)):
            return attrs.asdict(value, value_serializer=lambda _i, _f, one: _shown(one))
        case _:
            return value
