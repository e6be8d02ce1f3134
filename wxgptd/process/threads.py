"""The daemon's thread pools: one for each kind of work, and none shared.

With a single pool, a hundred requests for one history page took the threads that resolve names for
every call of a model, write snapshots and feed the watchdog.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from wxgptd.loose import Reactor
from wxgptd.ports.threads import InThread, T, Threads

PAGES = 1
"""Rendering holds the interpreter's lock: a second thread would only take more of the reactor's."""

STORAGE = 2
HEALTH = 1

SWITCH_INTERVAL_S = 0.0002
"""How long a thread that computes keeps the interpreter to itself.

The reactor gives the interpreter up at each system call, and beside a page that is being rendered
it waited 5 ms, Python's default, to get it back each time: a flood of requests for one page held
other people's messages up for 1.3 s, and for 17 ms with this.
"""


def start_threads(reactor: Reactor) -> Threads:
    """Start the pools; they stop with the reactor, and wait for what they are doing."""
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
