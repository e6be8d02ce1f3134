"""What an erasure requires beyond the log."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import CloseReason, Standing, User
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Entry, Journal
from wxgptd.service.state.recently_erased import RecentlyErased


class OnErasure:
    """An effect that calls `call` when a user is erased, or deletes a session."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(self, entry: Entry) -> None:
        """Call `call` if `entry` is an erasure or a deletion."""
        if _erases(entry) or any(isinstance(event, e.SessionDeleted) for event in entry.events):
            self._call()


def forget_erased(call: Callable[[], None]) -> Callable[[User, e.Event, UserState], None]:
    """Return an observer that calls `call` when another node erases a user or deletes a session."""

    def observe(_user: User, event: e.Event, _before: UserState) -> None:
        if isinstance(event, e.UserErased | e.SessionDeleted):
            call()

    return observe


class Erasing:
    """An effect that erases users and cleans up after each erasure."""

    def __init__(
        self,
        journal: Journal,
        recently_erased: RecentlyErased,
        event_clock: EventClock,
    ) -> None:
        self._journal = journal
        self._recently_erased = recently_erased
        self._event_clock = event_clock

    def erase(self, user: User, reason: CloseReason) -> Deferred[bool]:
        """Erase `user`; fires with whether there was anything to delete, once it is deleted."""
        entry = self._journal.record(user, c.EraseUser(at=self._event_clock.now(), reason=reason))
        if not entry.events:
            return succeed(False)
        return self._journal.committed().addCallback(lambda _: True)

    def observe(self, user: User, event: e.Event, before: UserState) -> None:
        """Remember an erasure that another node recorded."""
        if isinstance(event, e.UserErased):
            self._recently_erased.note(user, before, self._event_clock.now())

    def __call__(self, entry: Entry) -> None:
        """Clean up after an erasure, before waiters are notified that no answer will come."""
        if not _erases(entry):
            return
        user, before = entry.user, entry.before
        self._recently_erased.note(user, before, self._event_clock.now())
        command = entry.command
        if isinstance(command, c.EraseUser) and command.reason is CloseReason.OPERATOR:
            return  # the operator also resets the user's limits and blocks
        day_began_at, _ = self._event_clock.day()
        self._recently_erased.note_used(user, before, day_began_at)
        self._block_again(user, before)

    def _block_again(self, user: User, before: UserState) -> None:
        """Keep an erased user blocked: erasure must not be a way around a block."""
        now = self._event_clock.now()
        if before.standing_at(now) is Standing.BLOCKED:
            until = before.standing_until
            blocked = e.StandingChanged(at=now, standing=Standing.BLOCKED, until=until)
            self._journal.record(user, c.RecordFact(blocked))


def _erases(entry: Entry) -> bool:
    return bool(entry.events) and isinstance(entry.events[-1], e.UserErased)
