"""A circuit breaker: a server that fails for everybody is not asked for a while.

What a server says to one person's words is about that person: a firewall refuses a prompt with
`<script>` in it, a gateway quotes a user's "余额不足", a proxy refuses a large picture. If that
opened a breaker, one message could silence the assistant for everybody. So:

- Timeouts, resets and 5xx open a breaker after five in a row that at least two users met, unless a
  probe was answered meanwhile: two users can agree to send what a server fails on.
- Everything else, and a third failure of a single user, is only a suspicion: the daemon asks the
  server a question of its own (`probing.py`), and the answer to that opens the breaker, or not.
- An open breaker is closed by such a probe as well, and never tried with a user's question.

There is one for each endpoint (its address and key), and one for each model there: a model that
is not loaded says nothing about its neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wxgptd.domain.model.values import FailureReason

log = Logger()

FAILURES_TO_OPEN = 5
USERS_TO_OPEN = 2
FAILURES_TO_PROBE = 3

OPEN_S = 30.0
"""How long an open breaker rejects calls before the next probe."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Everybody may ask; `askers` are those whose calls have failed since the last good one."""

    askers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """Calls are rejected until a probe that was sent after `until` (monotonic) is answered.

    `reason` is what users are told.
    """

    until: float
    reason: FailureReason


class Breaker:
    """The breaker of one endpoint, or of one model there; `name` is for the log."""

    def __init__(self, name: str, clock: IReactorTime) -> None:
        self.name = name
        self._clock = clock
        self._state: Closed | Open = Closed()
        self._why = ""

    @property
    def state(self) -> str:
        """In words, for the operator."""
        match self._state:
            case Closed():
                return "ok"
            case Open(until=until):
                left_s = max(ceil(until - self._clock.seconds()), 0)
                when = f"retrying in {left_s} s" if left_s else "retrying with the next question"
                return f"circuit breaker open, {when}: {self._why}"

    @property
    def open(self) -> FailureReason | None:
        """Why nobody may ask, or None if everybody may."""
        return self._state.reason if isinstance(self._state, Open) else None

    @property
    def due(self) -> bool:
        """Whether an open breaker is to be probed."""
        return isinstance(self._state, Open) and self._clock.seconds() >= self._state.until

    @property
    def suspected(self) -> bool:
        """Whether enough calls have failed that a probe should say why."""
        return isinstance(self._state, Closed) and len(self._state.askers) >= FAILURES_TO_PROBE

    def succeeded(self) -> None:
        """Note that the server answered a user."""
        if isinstance(self._state, Closed):
            self._state = Closed()

    def passed(self) -> None:
        """Note that a probe was answered. That closes an open breaker; it forgets no failures."""
        if isinstance(self._state, Open):
            log.info("{name} answers again, circuit breaker closed", name=self.name)
            self._state = Closed()

    def failed(self, asker: int, reason: FailureReason, why: str, *, vouched: bool = False) -> None:
        """Note that the call of one user failed for a reason that others would meet as well.

        `vouched` is that a probe was answered lately, and the server is well for others.
        """
        if not isinstance(self._state, Closed):
            return
        askers = (*self._state.askers, asker)[-FAILURES_TO_OPEN:]
        self._state = Closed(askers)
        if vouched:
            return
        if len(askers) == FAILURES_TO_OPEN and len(set(askers)) >= USERS_TO_OPEN:
            self.trip(reason, why)

    def trip(self, reason: FailureReason, why: str) -> None:
        """Let nobody through: a probe failed, or the calls of several users did."""
        if isinstance(self._state, Closed):
            log.error(
                "{name}: circuit breaker open, next probe in {seconds:g} s: {why}",
                name=self.name,
                seconds=OPEN_S,
                why=why,
            )
        self._why = why
        self._state = Open(self._clock.seconds() + OPEN_S, reason)


def shown_url(url: str) -> str:
    """Return an address for the log: some have a key in their query."""
    return url.split("?", maxsplit=1)[0]
