"""Every value of a configuration, and where it comes from, with secrets masked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import attrs

from wxgpt import render
from wxgptd.config import Config, Secret, read
from wxgptd.config.changes import fields
from wxgptd.config.tables import key_of
from wxgptd.config.values import Duration, OptionalDuration
from wxgptd.untyped import Given, JsonView

DEFAULT = "default"


class Value(NamedTuple):
    """One key's value, ready for JSON. `source` is `default`, the file, or a secret's reference.

    `text` is the value as it is written in TOML: a time of 300 s is `"5m"`.
    """

    key: str
    value: Given
    source: str
    text: str


def values(config: Config, path: Path) -> Iterator[Value]:
    """Yield every effective value."""
    yield from _values("", config, tomllib.loads(read(path).removeprefix("\ufeff")), str(path))


def _values(key: str, value: Given, raw: Given, path: str, kind: Given = None) -> Iterator[Value]:
    inner = _inner(value)
    if inner is None:
        plain = _masked(_shown(value))
        is_time = kind in (Duration, OptionalDuration) and isinstance(value, float)
        text = f'"{render.duration(value)}"' if is_time else render.dumps(plain)
        yield Value(key, plain, _source(value, raw, path), text)
        return
    kinds = {key_of(field.name): field.type for field in _attributes(value)}
    for name, child in inner.items():
        child_raw = raw.get(name) if isinstance(raw, Mapping) else None
        child_key = f"{key}.{name}" if key else name
        yield from _values(child_key, child, child_raw, path, kinds.get(name))


def _attributes(table: Given) -> tuple[attrs.Attribute[Given], ...]:
    if not attrs.has(type(table)):
        return ()
    resolved: type[attrs.AttrsInstance] = attrs.resolve_types(type(table))
    return tuple(attrs.fields(resolved))


def _masked(value: Given, name: str = "") -> Given:
    """Return `value` with likely secrets masked: URL queries, and values with suspicious keys.

    `name` is the value's key in a table that is passed through unchanged.
    """
    match value:
        case _ if re.search(r"(?i)key|token|secret|passw|auth", name):
            return "***"
        case dict():
            return {key: _masked(inner, str(key)) for key, inner in value.items()}
        case list():
            return [_masked(inner, name) for inner in value]
        case str():
            return re.sub(r"(?i)^(https?://[^?]*\?).+", r"\1***", value)
        case _:
            return value


def _inner(value: Given) -> JsonView | None:
    if isinstance(value, dict) and any(attrs.has(type(item)) for item in value.values()):
        return value
    return fields(value)


def _source(value: Given, raw: Given, path: str) -> str:
    if raw is None:
        return DEFAULT
    scheme, colon, _ = raw.partition(":") if isinstance(raw, str) else ("", "", "")
    if isinstance(value, Secret) and colon and scheme in ("env", "file", "credential"):
        return str(raw)
    return path


def _shown(value: Given) -> Given:
    match value:
        case Secret():
            return "***" if value else ""
        case Path():
            return str(value)
        case tuple():
            return [_shown(item) for item in value]
        case dict():
            return {name: _shown(item) for name, item in value.items()}
        case _ if attrs.has(type(value)):
            return attrs.asdict(value, value_serializer=lambda _i, _f, item: _shown(item))
        case _:
            return value
