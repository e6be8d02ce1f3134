"""Run a coroutine in Twisted's global reactor, which nothing else in the CLI uses."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Coroutine
from typing import TypeVar

from wxgptd.untyped import Json, Reactor, Result

T = TypeVar("T")


def _discard(event: Json) -> None:
    """Discard one of Twisted's log events."""


def run(work: Callable[[Reactor], Coroutine[Result, Result, T]]) -> T:
    """Run `work(reactor)` to completion and return its result, or raise its exception.

    ^C cancels it and raises KeyboardInterrupt; SIGTERM and SIGHUP end the process with status 143.
    """
    from twisted.internet import reactor as untyped
    from twisted.internet.defer import Deferred
    from twisted.logger import globalLogBeginner
    from twisted.python.failure import Failure

    # Commands report their own connections' failures, so Twisted's log is not needed.
    globalLogBeginner.beginLoggingTo([_discard], redirectStandardIO=False)  # type: ignore[list-item]
    reactor: Reactor = untyped
    reactor.seconds = time.monotonic
    ended: list[T | Failure] = []
    interrupted: list[bool] = []

    def end(result: T | Failure) -> None:
        ended.append(result)
        reactor.stop()

    def begin() -> None:
        running = Deferred.fromCoroutine(work(reactor))

        def interrupt(*_: object) -> None:
            interrupted.append(True)
            reactor.callFromThread(running.cancel)

        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(reactor.stop))
        running.addBoth(end)

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = [signal.getsignal(number) for number in handled]
    reactor.callWhenRunning(begin)
    try:
        reactor.run(installSignalHandlers=True)
    finally:
        for number, handler in zip(handled, previous, strict=True):
            signal.signal(number, handler)  # so that ^C interrupts later code
    if interrupted:
        raise KeyboardInterrupt
    if not ended:
        raise SystemExit(128 + signal.SIGTERM)
    result = ended[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result
