"""How quickly each model writes, learned from its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wxgptd.domain import events as e
from wxgptd.domain.brevity import Pace
from wxgptd.domain.state import UserState
from wxgptd.domain.values import AssistantName, User
from wxgptd.service.projections import Projection

LEARNED_FROM_S = 86_400.0
"""A model's pace is that of its newest answers: yesterday's provider may be another one."""


class Paces(Projection):
    """The pace of each assistant's answers."""

    name = "paces"

    def __init__(self) -> None:
        self._paces: dict[AssistantName, Pace] = {}

    @property
    def recalls(self) -> Mapping[type[e.Event], float]:
        """The answers of a day."""
        return {e.AnswerCompleted: LEARNED_FROM_S}

    def observe(self, user: User, event: e.Event, state: UserState) -> None:
        """Learn from an answer."""
        self.recall(user, event)

    def recall(self, user: User, event: e.Event) -> None:
        """Learn from an answer."""
        if isinstance(event, e.AnswerCompleted):
            self._paces[event.assistant] = self.of(event.assistant).learned(
                event.first_text_s, event.took_s, len(event.text)
            )

    def notes(self) -> object:
        """Return what was learned."""
        return {name: list(pace) for name, pace in self._paces.items()}

    def restore(self, notes: Any) -> None:  # noqa: ANN401
        """Take up what was learned."""
        self._paces = {name: Pace(*pace) for name, pace in (notes or {}).items()}

    def of(self, assistant: AssistantName) -> Pace:
        """Return the pace of an assistant's answers."""
        return self._paces.get(assistant, Pace())
