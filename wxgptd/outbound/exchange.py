"""Run one exchange with another server within a time limit; if it fails, report why."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from wxgptd.errors import WxgptError
from wxgptd.outbound.reading import reason_of, was_cancelled
from wxgptd.untyped import Result

T = TypeVar("T")


class NoResponseError(WxgptError):
    """the server did not answer"""


async def within(
    seconds: float, clock: IReactorTime, exchange: Coroutine[Deferred[Result], Result, T]
) -> T:
    """Return the result of `exchange` if it finishes within `seconds`; cancelling cancels it.

    Raises:
        NoResponseError: it timed out or failed; the message is suitable for a log line.
        WxgptError: raised by `exchange`.
    """
    running = Deferred.fromCoroutine(exchange)
    try:
        return await running.addTimeout(seconds, clock, lambda *_: Failure(TookTooLong()))
    except WxgptError:
        raise
    except TookTooLong:
        raise NoResponseError(f"no answer within {seconds:.3g} s") from None
    except Exception as error:  # noqa: BLE001 (name resolution, TLS, resets: treated alike)
        if was_cancelled(error):
            raise CancelledError from None
        raise NoResponseError(reason_of(error)) from None
