"""How many model calls may run at once: in total, and for each assistant.

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
        self._queues: OrderedDict[AssistantName, deque[Start]] = OrderedDict()

    def take(self, assistant: AssistantName, start: Start) -> None:
        """Call `start` when a slot is free: now, or later."""
        queue = self._queues.setdefault(assistant, deque())
        queue.append(start)
        if len(queue) > 1 or not self._has_room(assistant):
            self._full()
        self.fill()

    def take_if_free(self, assistant: AssistantName, start: Start) -> None:
        """Call `start` now if a slot is free and nothing waits for it; otherwise never."""
        if not self._queues and self._has_room(assistant):
            self.take(assistant, start)

    def give(self, assistant: AssistantName) -> None:
        """Release the slot of an answer that is done."""
        self._running[assistant] -= 1
        self.fill()

    def fill(self) -> None:
        """Start queued questions, one from each queue in turn, until no slot is free."""
        while ready := [name for name in self._queues if self._has_room(name)]:
            for assistant in ready:
                self._start_next(assistant)

    def _start_next(self, assistant: AssistantName) -> None:
        """Start the queue's first question that is still wanted; the queue moves to the end."""
        queue = self._queues.get(assistant)
        while queue and self._has_room(assistant):
            start = queue.popleft()
            self._queues.move_to_end(assistant)
            if not queue:
                del self._queues[assistant]
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
        limit = self._most_of(assistant)
        below_own_limit = self._running[assistant] < limit if limit else True
        return below_own_limit and self._running.total() < self._most
