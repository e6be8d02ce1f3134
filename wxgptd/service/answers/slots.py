"""How many answers may be written at once: in total, and by each assistant.

Further questions queue, first in, first out. The assistants' queues take turns, so a popular
assistant does not hold up the others.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from wxgptd.domain.model.values import AssistantName

Start = Callable[[], bool]
"""Starts a queued question; returns whether it was still wanted."""


class Slots:
    """Slots for running answers.

    There are `most` in total, and `most_of(assistant)` for each assistant, where 0 means no limit.
    `full` is called when a question has to wait.
    """

    def __init__(
        self, most: int, most_of: Callable[[AssistantName], int], full: Callable[[], None]
    ) -> None:
        self._most = most
        self._most_of = most_of
        self._full = full
        self._running: Counter[AssistantName] = Counter()
        self._lines: OrderedDict[AssistantName, deque[Start]] = OrderedDict()

    def take(self, assistant: AssistantName, start: Start) -> None:
        """Call `start` when a slot is free: now, or later."""
        line = self._lines.setdefault(assistant, deque())
        line.append(start)
        if len(line) > 1 or not self._has_room(assistant):
            self._full()
        self.fill()

    def give(self, assistant: AssistantName) -> None:
        """Release the slot of an answer that is done."""
        self._running[assistant] -= 1
        self.fill()

    def fill(self) -> None:
        """Start queued questions, one from each queue in turn, until no slot is free."""
        while waiting := [name for name in self._lines if self._has_room(name)]:
            for assistant in waiting:
                self._start_one(assistant)

    def _start_one(self, assistant: AssistantName) -> None:
        """Start the queue's first question that is still wanted; then the other queues are next."""
        line = self._lines.get(assistant)
        while line and self._has_room(assistant):
            start = line.popleft()
            self._lines.move_to_end(assistant)
            if not line:
                del self._lines[assistant]
            self._running[assistant] += 1
            wanted = False
            try:
                wanted = start()
            finally:
                if not wanted:
                    self._running[assistant] -= 1
            if wanted:
                return

    def _has_room(self, assistant: AssistantName) -> bool:
        most = self._most_of(assistant)
        of_this = self._running[assistant] < most if most else True
        return of_this and self._running.total() < self._most
