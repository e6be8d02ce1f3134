"""Run the pages' work in its own thread: one by one, once for all waiters, within a CPU budget.

Rendering a long answer takes a tenth of a second, searching a long history about the same, and
anyone with a link can request either as often as they like. So:

- Work runs one item at a time, and link owners take turns: an owner whose links are requested a
  hundred times waits in their own queue, not ahead of everyone else.
- Work that has no waiters is not started.
- Text is rendered once for everyone waiting for it, and the result is cached.
- Each owner has a budget of CPU time. Once it is used up, text is shown unrendered, and slow
  work (a search, a download) is rejected for a while.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from markupsafe import escape
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from wxgptd.errors import WxgptError
from wxgptd.pages.document import Blocks, Document
from wxgptd.pages.update_pace import UpdatePace
from wxgptd.ports.threads import InThread
from wxgptd.untyped import Result

T = TypeVar("T")

MAX_WAITING = 256
"""Work items queued for all owners together; beyond that, requests are answered with 503."""

MAX_WAITING_PER_OWNER = 32

BUDGET_S = 3.0
BUDGET_BACK = 0.05
"""CPU seconds that an owner may use in one burst, and how many are restored each second."""

MAX_OWNERS = 10_000

MAX_KEPT_CHARS = 4_000_000
"""Limits the total size of the cached texts, as MAX_KEPT limits their number."""

MAX_KEPT = 256


class TooBusy(WxgptError):
    """the pages are too busy"""


@dataclass(slots=True, eq=False)
class _Work:
    """A work item of one owner, and its waiters."""

    owner: str
    do: Callable[[], Result]
    text: str = ""
    waiting: list[Deferred[Result]] = field(default_factory=list)


@dataclass(slots=True)
class _Budget:
    left_s: float
    at: float


class RenderQueue:
    """Runs the pages' work. `thread_time` returns the CPU time of the calling thread."""

    def __init__(
        self,
        in_thread: InThread,
        clock: IReactorTime,
        thread_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._in_thread = in_thread
        self.clock = clock
        self.pace = UpdatePace(clock, thread_time)
        self._thread_time = thread_time
        self._queues: OrderedDict[str, deque[_Work]] = OrderedDict()
        self._count = 0
        self._busy = False
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._rendering: dict[str, _Work] = {}
        self._cache: OrderedDict[str, Blocks] = OrderedDict()
        self._cached_chars = 0
        self._generation = 0

    @property
    def waiting(self) -> int:
        """The number of queued work items."""
        return self._count

    def run(self, owner: str, do: Callable[[], T], *, costly: bool = False) -> Deferred[T]:
        """Call `do` when it is this owner's turn; fire with its result.

        Cancelling drops the work if it has not started.

        Errs:
            TooBusy: the queue is full; or the work is `costly`, and the budget is used up.
        """
        if costly and self.left_s(owner) <= 0:
            return fail(TooBusy("the owner's CPU budget is used up"))
        work = _Work(owner, do)
        return self._enqueue(work, self._join(work))

    def blocks(self, owner: str, text: str) -> Deferred[Blocks]:
        """Fire with the blocks of a complete text, unrendered if the budget is used up.

        Errs:
            TooBusy: the queue is full.
        """
        cached = self._cache.get(text)
        if cached is not None:
            self._cache.move_to_end(text)
            return succeed(cached)
        work = self._rendering.get(text)
        if work is None:
            if self.left_s(owner) <= 0:
                return succeed(as_written(text))
            work = _Work(owner, lambda: Document().update(text), text)
            self._rendering[text] = work
            waiter = self._enqueue(work, self._join(work))
        else:
            waiter = self._join(work)
        return waiter.addCallback(self._store, text, self._generation)

    def forget_all(self) -> None:
        """Clear the cache, which may hold the words of a user who was erased."""
        self._generation += 1
        self._cache.clear()
        self._cached_chars = 0

    # The queue.

    def _enqueue(self, work: _Work, waiter: Deferred[Result]) -> Deferred[Result]:
        queue = self._queues.get(work.owner)
        if self._count >= MAX_WAITING or (queue and len(queue) >= MAX_WAITING_PER_OWNER):
            self._remove(work)
            waiter.errback(TooBusy("the render queue is full"))
            return waiter
        if queue is None:
            queue = self._queues[work.owner] = deque()
        queue.append(work)
        self._count += 1
        if not self._busy:
            self._busy = True
            self._start_next()
        return waiter

    def _join(self, work: _Work) -> Deferred[Result]:
        def leave(cancelled: Deferred[Result]) -> None:
            if cancelled in work.waiting:
                work.waiting.remove(cancelled)
            cancelled.errback(CancelledError())

        waiter: Deferred[Result] = Deferred(leave)
        work.waiting.append(waiter)
        return waiter

    def _start_next(self) -> None:
        """Start the next work item that still has waiters."""
        while self._queues:
            owner, queue = self._queues.popitem(last=False)
            work = queue.popleft()
            self._count -= 1
            if queue:
                self._queues[owner] = queue  # to the back of the rotation
            if work.waiting:
                self._start(work)
                return
            self._remove(work)
        self._busy = False

    def _start(self, work: _Work) -> None:
        def timed() -> tuple[Result, float]:
            began = self._thread_time()
            return work.do(), self._thread_time() - began

        self._in_thread(timed).addCallbacks(
            self._finished, self._failed, callbackArgs=(work,), errbackArgs=(work,)
        )

    def _finished(self, result: tuple[Result, float], work: _Work) -> None:
        value, took_s = result
        self._charge(work.owner, took_s)
        self._remove(work)
        for waiter in work.waiting:
            waiter.callback(value)
        self._start_next()

    def _failed(self, failure: Failure, work: _Work) -> None:
        self._remove(work)
        for waiter in work.waiting:
            waiter.errback(failure)
        self._start_next()

    def _remove(self, work: _Work) -> None:
        if self._rendering.get(work.text) is work:
            del self._rendering[work.text]

    # The cache.

    def _store(self, blocks: Blocks, text: str, generation: int) -> Blocks:
        if generation == self._generation and text not in self._cache:
            self._cache[text] = blocks
            self._cached_chars += _size(text, blocks)
            while self._cached_chars > MAX_KEPT_CHARS or len(self._cache) > MAX_KEPT:
                self._cached_chars -= _size(*self._cache.popitem(last=False))
        return blocks

    # Budgets.

    def left_s(self, owner: str) -> float:
        """Return the CPU seconds that an owner has left, negative if overspent."""
        now = self.clock.seconds()
        budget = self._budgets.pop(owner, None) or _Budget(BUDGET_S, now)
        budget.left_s = min(BUDGET_S, budget.left_s + (now - budget.at) * BUDGET_BACK)
        budget.at = now
        self._budgets[owner] = budget
        if len(self._budgets) > MAX_OWNERS:
            self._budgets.popitem(last=False)
        return budget.left_s

    def _charge(self, owner: str, took_s: float) -> None:
        self.left_s(owner)
        budget = self._budgets[owner]
        budget.left_s = max(budget.left_s - took_s, -BUDGET_S)


def as_written(text: str) -> Blocks:
    """Return `text` unrendered, as the only block of its page."""
    shown = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
    return (f'<p class="plain">{escape(shown)}</p>',)


def _size(text: str, blocks: Blocks) -> int:
    return len(text) + sum(map(len, blocks))
