"""The texts that an object of the daemon holds, however deep: to find what should be gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def words_in(root: object, wanted: Callable[[str], bool], depth: int = 9) -> Iterator[str]:
    """Yield the texts that can be reached from an object and are `wanted`."""
    seen: set[int] = set()
    todo: list[tuple[Any, int]] = [(root, depth)]
    while todo:
        thing, left = todo.pop()
        if isinstance(thing, str):
            if wanted(thing):
                yield thing
            continue
        if left == 0 or id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, dict):
            todo += ((value, left - 1) for pair in thing.items() for value in pair)
        elif isinstance(thing, list | tuple | set | frozenset):
            todo += ((value, left - 1) for value in thing)
        elif type(thing).__module__.startswith("wxgptd."):
            names = {*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())}
            todo += ((getattr(thing, name, None), left - 1) for name in names)
