"""One exchange with a server of somebody else: within its time, and if not, why."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from wxgptd.errors import WxgptError
from wxgptd.loose import Result
from wxgptd.outbound.reading import reason_of, was_cancelled

T = TypeVar("T")


class NoAnswer(WxgptError):
    """the server gives no answer"""


async def within(
    seconds: float, clock: IReactorTime, exchange: Coroutine[Deferred[Result], Result, T]
) -> T:
    """Return what `exchange` returns, if it does within `seconds`. Cancelling cancels it.

    Raises:
        NoAnswer: it did not; what it says is fit for a log line.
        WxgptError: `exchange` raised that.
    """
    running = Deferred.fromCoroutine(exchange)
    try:
        return await running.addTimeout(seconds, clock, lambda *_: Failure(TookTooLong()))
    except WxgptError:
        raise
    except TookTooLong:
        raise NoAnswer(f"no answer within {seconds:.3g} s") from None
    except Exception as error:  # noqa: BLE001 (name resolution, TLS, resets: all alike here)
        if was_cancelled(error):
            raise CancelledError from None
        raise NoAnswer(reason_of(error)) from None
