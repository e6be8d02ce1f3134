"""The keys that differ between two configurations. Never their values: some are secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import attrs

from wxgptd.config.tables import Config, key_of
from wxgptd.domain.replies.texts import Texts
from wxgptd.untyped import Given


def changes(former: Config, fresh: Config) -> Iterator[str]:
    """Yield the dotted key of every value that differs between `former` and `fresh`."""
    yield from _changes("", former, fresh)


def _changes(key: str, former: Given, fresh: Given) -> Iterator[str]:
    if former == fresh:
        return
    before, after = _inner(former), _inner(fresh)
    if before is None or after is None:
        yield key
        return
    for name in {**before, **after}:
        inner = f"{key}.{name}" if key else str(name)
        if name in before and name in after:
            yield from _changes(inner, before[name], after[name])
        else:
            yield inner


def fields(table: Given) -> dict[str, Given] | None:
    """Return the fields of a table by name, or None if `table` is not a table."""
    if isinstance(table, Texts):
        return dataclasses.asdict(table)
    if attrs.has(type(table)):
        attributes = attrs.fields(type(table))
        return {key_of(field.name): getattr(table, field.name) for field in attributes}
    return None


def _inner(value: Given) -> Mapping[Given, Given] | None:
    """Return the parts of `value` to compare one by one, or None if it has no parts."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and any(attrs.has(type(item)) for item in value):
        return dict(enumerate(value, 1))  # rules, counted from 1
    return fields(value)
