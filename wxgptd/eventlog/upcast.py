"""Bodies of older versions of events, brought up to the newest one step at a time.

A step is registered under the tag and the version that
it starts from, and is never changed once a release has written that version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Step = Callable[[Sequence[Any]], Sequence[Any]]


def _reply_offered_1(body: Sequence[Any]) -> Sequence[Any]:
    """Answers were shown as they were written, and what was left of one was not recorded."""
    return (*body, "markdown", None, "")


STEPS: Mapping[tuple[int, int], Step] = {
    (3, 1): lambda body: (*body, 0, False),  # CommandGiven: when it was sent was not noted
    (4, 1): lambda body: (*body, ""),  # QuestionAsked: no pictures yet
    (4, 2): lambda body: (*body, 0, 0.0, False),  # QuestionAsked: time ran from the arrival
    (4, 3): lambda body: (*body, "", False),  # QuestionAsked: none was repeated, or held back
    (5, 1): lambda body: (*body, 0, 0.0, False),  # ContinuationAsked: so here
    (6, 1): lambda body: (*body, False),  # MessageDeclined: there was nothing to tap
    (10, 1): lambda body: (*body, "", False, 0, 0.0),  # AnswerCompleted: nobody counted costs
    (10, 2): lambda body: (*body, False),  # AnswerCompleted: nothing was taken back
    (11, 1): lambda body: (*body, 0),  # AnswerFailed: what it took was not counted
    (11, 2): lambda body: (*body, "", 0.0),  # AnswerFailed: nor by whose prices
    (13, 1): _reply_offered_1,
    (21, 1): lambda body: (*body, False),  # ModelChosen: nor here
}


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
