"""A circuit breaker for one endpoint: whoever fails again and again is left alone for a while.

Closed, it lets everybody through and counts failures in a row. Open, it lets nobody through for
`OPEN_S`; then it is half-open: one call is let through, and what comes of that decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wxgptd.domain.values import FailureReason

log = Logger()

FAILURES_IN_A_ROW = 5
OPEN_S = 30.0

_AT_ONCE = frozenset({FailureReason.MISCONFIGURED, FailureReason.QUOTA})
"""What no repetition mends: only the operator can."""


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
    """The breaker of one endpoint; `name` is for the log."""

    def __init__(self, name: str, clock: IReactorTime) -> None:
        self._name = name
        self._clock = clock
        self._state: Closed | Open | HalfOpen = Closed()

    @property
    def state(self) -> str:
        """In a word, for the operator."""
        match self._state:
            case Closed():
                return "closed"
            case Open(until=until):
                return "open" if self._clock.seconds() < until else "half-open"
            case HalfOpen():
                return "half-open"

    def refuses(self) -> FailureReason | None:
        """Return why nobody may ask just now, or None: then a call is to be made and settled."""
        now = self._clock.seconds()
        match self._state:
            case Open(until=until, reason=reason) | HalfOpen(until=until, reason=reason):
                if now < until:
                    return reason
                # A trial whose outcome is never told makes room for another one.
                self._state = HalfOpen(now + OPEN_S, reason)
        return None

    def succeeded(self) -> None:
        """Note that a call went well, or failed for a reason of its own."""
        if not isinstance(self._state, Closed):
            log.info("{name} answers again", name=self._name)
        self._state = Closed()

    def failed(self, reason: FailureReason, detail: str) -> None:
        """Note that a call failed for a reason that the next one would meet, too."""
        failures = self._state.failures + 1 if isinstance(self._state, Closed) else 1
        trial = isinstance(self._state, HalfOpen)
        if reason not in _AT_ONCE and failures < FAILURES_IN_A_ROW and not trial:
            if isinstance(self._state, Closed):
                self._state = Closed(failures)
            return
        if not trial:
            log.error(
                "{name} is left alone for {seconds:g} s at a time until it answers again: {detail}",
                name=self._name,
                seconds=OPEN_S,
                detail=detail,
            )
        self._state = Open(self._clock.seconds() + OPEN_S, reason)


class Breakers:
    """All breakers: one for each endpoint and key, whoever asks there."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def of(self, url: str, api_key: str) -> Breaker:
        """Return the breaker of that endpoint."""
        found = self._breakers.get((url, api_key))
        if found is None:
            found = self._breakers[url, api_key] = Breaker(
                url.split("?", maxsplit=1)[0], self._clock
            )
        return found

    def states(self) -> list[tuple[str, str]]:
        """Return each endpoint with its breaker's state, for the operator."""
        return [(url.split("?")[0], one.state) for (url, _), one in self._breakers.items()]
