"""A circuit breaker: suspends calls to a server that fails for every user.

An error in response to one user's prompt may concern only that prompt: a firewall rejects a prompt
that contains `<script>`, a gateway quotes a user's "余额不足", a proxy rejects a large picture. If
such errors opened a breaker, one message could silence the assistant for everyone. So:

- Timeouts, resets and 5xx open a breaker after five in a row from at least two users, unless a
  probe has succeeded in the meantime: two users could collude to make a server fail.
- Other errors that are not about the question, and a third failure in a row, only raise suspicion:
  the daemon sends the server a question of its own (`probing.py`), and opens the breaker if that
  fails.
- Only such a probe closes an open breaker, which is never tested with a user's question.

Each endpoint (address and key) has a breaker, and so does each of its models: a model that is not
loaded says nothing about the others.
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
    """Calls are allowed; `askers` holds the users whose calls failed since the last success."""

    askers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """Calls are rejected until a probe that was sent after `until` (monotonic) succeeds.

    `reason` is reported to users.
    """

    until: float
    reason: FailureReason


class Breaker:
    """The breaker of one endpoint, or of one of its models; `name` is for the log."""

    def __init__(self, name: str, clock: IReactorTime) -> None:
        self.name = name
        self._clock = clock
        self._state: Closed | Open = Closed()
        self._why = ""

    @property
    def state(self) -> str:
        """The state in words, for the operator."""
        match self._state:
            case Closed():
                return "ok"
            case Open(until=until):
                left_s = max(ceil(until - self._clock.seconds()), 0)
                when = f"retrying in {left_s} s" if left_s else "retrying with the next question"
                return f"circuit breaker open, {when}: {self._why}"

    @property
    def open(self) -> FailureReason | None:
        """Why calls are rejected, or None if they are allowed."""
        return self._state.reason if isinstance(self._state, Open) else None

    @property
    def due(self) -> bool:
        """Whether the breaker is open and the next probe is due."""
        return isinstance(self._state, Open) and self._clock.seconds() >= self._state.until

    @property
    def suspected(self) -> bool:
        """Whether enough calls have failed to justify a probe."""
        return isinstance(self._state, Closed) and len(self._state.askers) >= FAILURES_TO_PROBE

    def succeeded(self) -> None:
        """Record that the server answered a user."""
        if isinstance(self._state, Closed):
            self._state = Closed()

    def passed(self) -> None:
        """Record that a probe succeeded.

        That closes an open breaker, but does not reset the failures of a closed one.
        """
        if isinstance(self._state, Open):
            log.info(
                "{name}: circuit breaker closed: the server is responding again",
                id="breaker-closed",
                name=self.name,
            )
            self._state = Closed()

    def failed(self, asker: int, reason: FailureReason, why: str, *, vouched: bool = False) -> None:
        """Record that one user's call failed for a reason that may affect others as well.

        `vouched` is set if a probe succeeded recently, so that the server works for others.
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
        """Open the breaker, because a probe or the calls of several users failed."""
        if isinstance(self._state, Closed):
            log.error(
                "{name}: circuit breaker open, next probe in {seconds:g} s: {why}",
                id="breaker-open",
                name=self.name,
                seconds=OPEN_S,
                why=why,
            )
        self._why = why
        self._state = Open(self._clock.seconds() + OPEN_S, reason)


def url_without_query(url: str) -> str:
    """Return `url` without its query, for the log: some servers expect the key in the query."""
    return url.split("?", maxsplit=1)[0]
