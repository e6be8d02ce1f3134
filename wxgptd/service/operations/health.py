"""Check every few seconds whether the daemon can still do its work.

It can if the log makes progress and the threads respond. If the check runs at all, so does the
reactor: a watchdog that depends on the check covers all three.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from wxgptd.ports.store import EventStore
from wxgptd.ports.threads import InThread

log = Logger()

CHECK_INTERVAL_S = 5.0

STUCK_AFTER_S = 30.0
"""A commit or a long page may take several seconds, but not this long."""


class Health:
    """Checks the health of the daemon: `unhealthy_reason` is empty while it is healthy."""

    def __init__(self, store: EventStore, in_thread: InThread, clock: IReactorTime) -> None:
        self._store = store
        self._in_thread = in_thread
        self._clock = clock
        self._why_ill = ""
        self._looked_at: float | None = None
        self._committed = -1
        self._committed_at = 0.0
        self._asked_at = 0.0
        self._asking = False
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock

    @property
    def unhealthy_reason(self) -> str:
        """Why the daemon is unhealthy; empty while it is healthy."""
        looked_at = self._looked_at
        if looked_at is not None and self._clock.seconds() - looked_at > STUCK_AFTER_S:
            return f"no health check for more than {STUCK_AFTER_S:.0f} s"
        return self._why_ill

    def begin(self) -> None:
        """Check now, and keep checking."""
        self._loop.start(CHECK_INTERVAL_S)

    def end(self) -> None:
        """Stop checking."""
        if self._loop.running:
            self._loop.stop()
        self._looked_at = None

    def look(self) -> None:
        """Check the health of the daemon."""
        now = self._looked_at = self._clock.seconds()
        try:
            why = self._check_log(now) or self._check_threads(now)
        except Exception as error:  # noqa: BLE001 (a failed check must not feed the watchdog)
            why = f"the check itself failed: {error!r}"
        if bool(why) != bool(self._why_ill):
            if why:
                log.error("health check failed: {why}", id="health-failed", why=why)
            else:
                log.info("health check passed again", id="health-passed")
        self._why_ill = why

    def _check_log(self, now: float) -> str:
        figures = self._store.figures()
        idle = not figures.pending or self._store.full()  # a full disk makes it wait on purpose
        if idle or figures.commits != self._committed:
            self._committed, self._committed_at = figures.commits, now
        stuck_s = now - self._committed_at
        return f"no commit to the log for {stuck_s:.0f} s" if stuck_s > STUCK_AFTER_S else ""

    def _check_threads(self, now: float) -> str:
        if not self._asking:
            self._asking, self._asked_at = True, now
            self._in_thread(lambda: None).addBoth(self._answered)
        silent_s = now - self._asked_at
        if self._asking and silent_s > STUCK_AFTER_S:
            return f"no thread has responded for {silent_s:.0f} s"
        return ""

    def _answered(self, result: Failure | None) -> None:
        self._asking = False
