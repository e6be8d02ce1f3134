"""How many answers may be written at once: in all, and by each assistant.

Further questions queue, first in, first out. The queues of the assistants take turns, so that one
that everybody asks does not hold up the others.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from wxgptd.domain.model.values import AssistantName

Start = Callable[[], bool]
"""Starts what waited in line; tells whether it was still wanted."""


class Slots:
    """Places for running answers.

    There are `most` in all, and `most_of(assistant)` for each assistant, where 0 is no bound.
    `full` is told when somebody has to wait.
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
        """Have `start` called when there is a place: now, or later."""
        line = self._lines.setdefault(assistant, deque())
        line.append(start)
        if len(line) > 1 or not self._has_room(assistant):
            self._full()
        self.fill()

    def give(self, assistant: AssistantName) -> None:
        """Take back the place of an answer that is done."""
        self._running[assistant] -= 1
        self.fill()

    def fill(self) -> None:
        """Start waiting questions, one from each line in turn, until no slot is free."""
        while waiting := [name for name in self._lines if self._has_room(name)]:
            for assistant in waiting:
                self._start_one(assistant)

    def _start_one(self, assistant: AssistantName) -> None:
        """Start the first of a line that is still wanted; the other lines come first then."""
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
