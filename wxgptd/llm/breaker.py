"""A circuit breaker: whoever fails again and again is left alone for a while.

There is one for each endpoint (its address and key), and one for each model there: a model that
is not loaded says nothing about its neighbour.

Closed, it lets everybody through and counts failures in a row. Open, it lets nobody through for
`OPEN_S`; then it is half-open: one call is let through, and what comes of that decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wxgptd.domain.values import FailureReason

log = Logger()

FAILURES_IN_A_ROW = 5
OPEN_S = 30.0


@dataclass(frozen=True, slots=True)
class Closed:
    """Everybody may ask; `failures` is how many calls in a row have failed."""

    failures: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """Nobody may ask before `until`, on the monotonic clock; `reason` is what users are told."""

    until: float
    reason: FailureReason


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """One call is under way that decides; nobody else may ask before `until`."""

    until: float
    reason: FailureReason


class Breaker:
    """The breaker of one endpoint, or of one model there; `name` is for the log."""

    def __init__(self, name: str, clock: IReactorTime) -> None:
        self.name = name
        self._clock = clock
        self._state: Closed | Open | HalfOpen = Closed()
        self._why = ""

    @property
    def state(self) -> str:
        """In words, for the operator."""
        match self._state:
            case Closed():
                return "ok"
            case Open(until=until) | HalfOpen(until=until):
                left_s = until - self._clock.seconds()
                when = f"left alone for {ceil(left_s)} s" if left_s > 0 else "tried again next time"
                return f"{when}: {self._why}"

    def closed(self) -> bool:
        """Tell whether all is well."""
        return isinstance(self._state, Closed)

    def open(self) -> bool:
        """Tell whether nobody may ask just now."""
        state = self._state
        return not isinstance(state, Closed) and self._clock.seconds() < state.until

    def admit(self) -> FailureReason | None:
        """Return why nobody may ask just now, or None: then a call is to be made and settled.

        The first one after the pause finds out for all; until it is settled nobody else asks.
        """
        now = self._clock.seconds()
        match self._state:
            case Open(until=until, reason=reason) | HalfOpen(until=until, reason=reason):
                if now < until:
                    return reason
                # A trial whose outcome is never told makes room for another one.
                self._state = HalfOpen(now + OPEN_S, reason)
        return None

    def abandon(self) -> None:
        """Note that a call was given up by whoever made it: it says nothing."""
        if isinstance(self._state, HalfOpen):
            self._state = Open(self._clock.seconds(), self._state.reason)

    def answering(self) -> None:
        """Note that an answer has begun: whoever was to find out has found out."""
        if isinstance(self._state, HalfOpen):
            self.succeeded()

    def succeeded(self) -> None:
        """Note that a call went well, or failed for a reason of its own."""
        if not isinstance(self._state, Closed):
            log.info("{name} answers again", name=self.name)
        self._state = Closed()

    def failed(self, reason: FailureReason, detail: str, *, at_once: bool) -> None:
        """Note that a call failed for a reason that the next one would meet, too.

        `at_once` is for what no repetition mends: only the operator can.
        """
        failures = self._state.failures + 1 if isinstance(self._state, Closed) else 1
        trial = isinstance(self._state, HalfOpen)
        if not at_once and failures < FAILURES_IN_A_ROW and not trial:
            if isinstance(self._state, Closed):
                self._state = Closed(failures)
            return
        if not trial:
            log.error(
                "{name} is left alone for {seconds:g} s at a time until it answers again: {detail}",
                name=self.name,
                seconds=OPEN_S,
                detail=detail,
            )
        self._why = detail
        self._state = Open(self._clock.seconds() + OPEN_S, reason)


class Breakers:
    """The breakers of endpoints: one for each address and key, whoever asks there."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def of(self, url: str, api_key: str) -> Breaker:
        """Return the breaker of that endpoint."""
        found = self._breakers.get((url, api_key))
        if found is None:
            found = self._breakers[url, api_key] = Breaker(shown_url(url), self._clock)
        return found


def shown_url(url: str) -> str:
    """Return an address for the log: some have a key in their query."""
    return url.split("?", maxsplit=1)[0]
