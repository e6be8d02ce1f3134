"""Bodies of older versions of events, brought up to the newest one step at a time.

There is one version of everything yet. A step is registered under the tag and the version that
it starts from, and is never changed once a release has written that version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Step = Callable[[Sequence[Any]], Sequence[Any]]

STEPS: Mapping[tuple[int, int], Step] = {}


def upcast(
    tag: int,
    version: int,
    newest: int,
    body: Sequence[Any],
    steps: Mapping[tuple[int, int], Step] = STEPS,
) -> Sequence[Any]:
    """Return `body` as the newest version of `tag` would have written it."""
    for step in range(version, newest):
        body = steps[tag, step](body)
    return body
