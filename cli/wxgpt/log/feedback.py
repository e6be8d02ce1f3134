"""What users think of answers, counted from the log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from wxgptd.domain.model.values import Rating

if TYPE_CHECKING:
    from wxgptd.ports.record import AnyRecord


@dataclass
class Feedback:
    """The ratings in one row, and the words that came with them, oldest first."""

    answers: int = 0
    up: int = 0
    down: int = 0
    words: list[str] = field(default_factory=list)


def count(
    records: Iterable[AnyRecord], by: str, since: float | None, until: float | None
) -> dict[str, Feedback]:
    """Return the ratings, keyed by day, user, assistant or model, as `by` selects.

    Of several ratings of one answer, the last counts. The period refers to the answers.
    """
    from wxgptd.domain.model import events as e

    answers: dict[tuple[str, str], str] = {}
    rated: dict[tuple[str, str], e.AnswerRated] = {}
    for record in records:
        event, user = record.event, f"{record.user.account}/{record.user.openid}"
        match event:
            case e.AnswerCompleted() if (since or 0.0) <= event.at < (until or float("inf")):
                names = {
                    "day": f"{datetime.fromtimestamp(event.at):%Y-%m-%d}",
                    "user": user,
                    "assistant": event.usage.assistant or "?",
                    "model": event.model,
                }
                answers[user, event.question] = names[by]
            case e.AnswerRated():
                rated[user, event.question] = event
            case _:
                pass
    rows: dict[str, Feedback] = {}
    for answer, name in answers.items():
        row = rows.setdefault(name, Feedback())
        row.answers += 1
        rating = rated.get(answer)
        if rating is None:
            continue
        row.up += rating.rating is Rating.UP
        row.down += rating.rating is Rating.DOWN
        if rating.words and rating.rating is not Rating.NONE:
            row.words.append(f"{rating.rating}: {rating.words}")
    return rows
