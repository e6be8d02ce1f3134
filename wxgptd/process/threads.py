"""The daemon's thread pools: one for each kind of work.

With a single pool, a hundred requests for one history page occupied the threads that resolve names
for every model call, write snapshots and feed the watchdog.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from wxgptd.ports.threads import InThread, T, Threads
from wxgptd.untyped import Reactor

PAGES = 1
"""Rendering holds the interpreter lock: a second thread would only take it from the reactor."""

STORAGE = 2
HEALTH = 1

SWITCH_INTERVAL_S = 0.0002
"""How long a CPU-bound thread may hold the interpreter lock.

The reactor releases the lock at each system call, and while a page was being rendered it waited
5 ms, Python's default, to get it back each time. A flood of requests for one page delayed other
users' messages by 1.3 s; with this value, by 17 ms.
"""


def start_threads(reactor: Reactor) -> Threads:
    """Start the pools; they stop with the reactor, once their current work is done."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    return Threads(
        pages=_pool(reactor, PAGES, "pages"),
        storage=_pool(reactor, STORAGE, "storage"),
        health=_pool(reactor, HEALTH, "health"),
    )


def _pool(reactor: Reactor, size: int, name: str) -> InThread:
    pool = ThreadPool(0, size, f"wxgptd {name}")
    pool.start()
    reactor.addSystemEventTrigger("after", "shutdown", pool.stop)

    def in_thread(work: Callable[[], T], /) -> Deferred[T]:
        deferred: Deferred[T] = deferToThreadPool(reactor, pool, work)
        return deferred

    return in_thread
