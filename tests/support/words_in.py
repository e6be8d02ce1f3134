"""Find the strings reachable from an object, to check that erased text is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any


def words_in(root: object, wanted: Callable[[str], bool], depth: int = 14) -> Iterator[str]:
    """Yield the strings reachable from `root` that satisfy `wanted`; objects of wxgptd are entered."""
    seen: set[int] = set()
    todo: deque[tuple[Any, int]] = deque([(root, depth)])
    while todo:
        thing, left = todo.popleft()  # breadth first: the shortest path to an object counts
        if isinstance(thing, str):
            if wanted(thing):
                yield thing
            continue
        if left == 0 or id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, dict):
            todo += ((value, left - 1) for pair in thing.items() for value in pair)
        elif isinstance(thing, list | tuple | set | frozenset | deque):
            todo += ((value, left - 1) for value in thing)
        elif type(thing).__module__.startswith("wxgptd."):
            slots = (getattr(kind, "__slots__", ()) for kind in type(thing).__mro__)
            names = {*getattr(thing, "__dict__", ()), *chain.from_iterable(slots)}
            todo += ((getattr(thing, name, None), left - 1) for name in names)
