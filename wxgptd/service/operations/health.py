"""Whether the daemon can still do its work, looked at every few seconds.

It can where its log gets on and its threads answer. That this is looked at at all shows that the
reactor turns; whoever feeds a watchdog by it feeds it by all three.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from wxgptd.ports.store import EventStore
from wxgptd.ports.threads import InThread

log = Logger()

LOOK_EVERY_S = 5.0

STUCK_AFTER_S = 30.0
"""A disk may take seconds for a commit, and a thread for a long page: not so many."""


class Health:
    """Knows how the daemon is: `why_ill` is empty while it is well."""

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
    def why_ill(self) -> str:
        """What is wrong; empty while nothing is."""
        looked_at = self._looked_at
        if looked_at is not None and self._clock.seconds() - looked_at > STUCK_AFTER_S:
            return "nobody has looked how the daemon is"
        return self._why_ill

    def begin(self) -> None:
        """Look now, and go on looking."""
        self._loop.start(LOOK_EVERY_S)

    def end(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()
        self._looked_at = None

    def look(self) -> None:
        """Find out how the daemon is."""
        now = self._looked_at = self._clock.seconds()
        try:
            why = self._of_log(now) or self._of_threads(now)
        except Exception as error:  # noqa: BLE001 (whatever it is, nobody may go on feeding a watchdog)
            why = f"it cannot be found out: {error!r}"
        if bool(why) != bool(self._why_ill):
            if why:
                log.error("unhealthy: {why}", why=why)
            else:
                log.info("healthy again")
        self._why_ill = why

    def _of_log(self, now: float) -> str:
        figures = self._store.figures()
        idle = not figures.pending or self._store.full()  # for want of room it waits on purpose
        if idle or figures.commits != self._committed:
            self._committed, self._committed_at = figures.commits, now
        stuck_s = now - self._committed_at
        return f"no commit of the log for {stuck_s:.0f} s" if stuck_s > STUCK_AFTER_S else ""

    def _of_threads(self, now: float) -> str:
        if not self._asking:
            self._asking, self._asked_at = True, now
            self._in_thread(lambda: None).addBoth(self._answered)
        silent_s = now - self._asked_at
        if self._asking and silent_s > STUCK_AFTER_S:
            return f"no thread has answered for {silent_s:.0f} s"
        return ""

    def _answered(self, result: Failure | None) -> None:
        self._asking = False
