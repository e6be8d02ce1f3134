"""Which assistants can answer a question."""

from __future__ import annotations

from collections.abc import Sequence

from wxgptd.domain.model.values import AssistantName
from wxgptd.domain.prompt.context import Message
from wxgptd.service.state.projections import Spending
from wxgptd.service.state.settings import Assistant, Settings


class Candidates:
    """The configured assistants, and those that have budget left."""

    def __init__(self, settings: Settings, spending: Spending) -> None:
        self._settings = settings
        self._spending = spending

    def own(self, name: AssistantName) -> Assistant | None:
        """Return the session's own assistant, or None if it is no longer configured."""
        return self._settings.assistants.get(name)

    def of(self, own: Assistant, question: Message) -> list[Assistant]:
        """Return `own` and its fallbacks, in order, without those that cannot answer.

        An assistant cannot answer if its daily budget is spent, or if the question has a picture
        and the assistant does not support vision.
        """
        assistants = self._settings.assistants
        fallbacks = [assistants[name] for name in own.fallback if name in assistants]
        exhausted = self._spending.exhausted()
        capable: Sequence[Assistant] = [
            assistant for assistant in (own, *fallbacks) if assistant.vision or not question.picture
        ]
        return [assistant for assistant in capable if assistant.name not in exhausted]
