"""Runs blocking code on virtual time, in greenlets: threads that switch only where they wait.

A worker runs until it waits (for a queue, an event, or the simulated disk), then the main greenlet
resumes. Everything happens in one real thread, in an order that depends on nothing but the seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import Any

import greenlet
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.python.failure import Failure


class Hub:
    """The workers of one incarnation of the daemon. Implements `wxgptd.eventlog.workers.Workers`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.alive = True
        self._joining = False
        self._main = greenlet.getcurrent()
        self._workers: list[greenlet.greenlet] = []

    # Workers.

    def start(self, run: Callable[[], None], name: str) -> Callable[[], None]:
        worker = greenlet.greenlet(run, parent=self._main)
        self._workers.append(worker)
        self.clock.callLater(0, self.resume, worker)

        def join() -> None:
            assert greenlet.getcurrent() is self._main, "only the main greenlet joins"
            self._joining = True  # virtual time stands still until the worker has ended
            try:
                while not worker.dead and self.alive:
                    self.resume(worker)
            finally:
                self._joining = False

        return join

    def queue(self) -> Queue:
        return Queue(self)

    def event(self) -> Event:
        return Event(self)

    # Waiting.

    def resume(self, worker: greenlet.greenlet) -> None:
        """Let a worker run until it waits."""
        if self.alive and not worker.dead:
            worker.switch()

    def is_in_worker(self) -> bool:
        """Return whether the caller is a worker, which may wait."""
        return greenlet.getcurrent() is not self._main

    def pause(self, seconds: float = 0.0) -> None:
        """Sleep in a worker; return at once in the main greenlet."""
        worker = greenlet.getcurrent()
        if worker is self._main:
            return
        due = self.clock.seconds() + seconds
        timer = self.clock.callLater(seconds, self.resume, worker)
        self._main.switch()
        while self.clock.seconds() < due and not self._joining:
            self._main.switch()  # it was woken for something that it does not wait for
        if timer.active():
            timer.cancel()

    def wait_for(
        self, ready: Callable[[], bool], waiters: list[Any], timeout: float | None
    ) -> bool:
        """Wait in a worker until `ready`; meanwhile it is in `waiters`, so it can be woken early."""
        worker = greenlet.getcurrent()
        assert worker is not self._main, "the main greenlet must not block"
        timer: IDelayedCall | None = None
        if timeout is not None:
            timer = self.clock.callLater(timeout, self.resume, worker)
        ends = None if timeout is None else self.clock.seconds() + timeout
        while not ready() and (ends is None or self.clock.seconds() < ends):
            waiters.append(worker)
            self._main.switch()
            if worker in waiters:
                waiters.remove(worker)
        if timer is not None and timer.active():
            timer.cancel()
        return ready()

    def run(self, work: Callable[[], Any]) -> Deferred[Any]:
        """Run work in a worker; fires with its result. Like `wxgptd.ports.threads.InThread`."""
        result: Deferred[Any] = Deferred()

        def worker() -> None:
            try:
                value = work()
            except Exception:  # noqa: BLE001 (it is passed on)
                failure = Failure()
                self.clock.callLater(0, result.errback, failure)
            else:
                self.clock.callLater(0, result.callback, value)

        self.start(worker, "work")
        return result

    def die(self) -> None:
        """Kill every worker; only its cleanup code (`finally`, `with`) runs."""
        self.alive = False
        for worker in self._workers:
            if worker and not worker.dead:
                worker.throw(greenlet.GreenletExit)


class Queue:
    """Like `queue.SimpleQueue`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._items: deque[Any] = deque()
        self._waiters: list[Any] = []

    def put(self, item: Any) -> None:
        self._items.append(item)
        for worker in self._waiters[:1]:
            self._hub.clock.callLater(0, self._hub.resume, worker)

    def get(self, *, timeout: float | None = None) -> Any:
        if not self._hub.wait_for(lambda: bool(self._items), self._waiters, timeout):
            raise Empty
        return self._items.popleft()


class Event:
    """Like `threading.Event`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._set = False
        self._waiters: list[Any] = []

    def set(self) -> None:
        self._set = True
        for worker in self._waiters:
            self._hub.clock.callLater(0, self._hub.resume, worker)

    def wait(self, timeout: float) -> bool:
        return self._hub.wait_for(lambda: self._set, self._waiters, timeout)
