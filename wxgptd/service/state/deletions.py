"""The sessions that users have deleted, until the log's files no longer have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import SessionId, User
from wxgptd.service.state.projections import Projection
from wxgptd.untyped import Notes

REMOVED_AFTER_S = 12 * 3_600.0
"""When at the latest a snapshot is taken that removes them: users are promised one day."""

RETRY_AFTER_S = 3_600.0
_ANY_AGE_S = 10 * 365 * 86_400.0


class Deletion(NamedTuple):
    """A deleted session, by its user's tag; times are in seconds since the epoch."""

    tag: int
    session: SessionId
    opened_at: float
    deleted_at: float


class Deletions(Projection):
    """The deleted sessions that are still in files. `tag` and `tagged` are those of the store.

    The snapshot that removes some of them says so in its notes: a start that finds an earlier
    snapshot beside it, which still has them, has to delete that one.
    """

    name = "deletions"

    def __init__(self, tag: Callable[[User], int], tagged: Callable[[int], User | None]) -> None:
        self._tag = tag
        self._tagged = tagged
        self._pending: list[Deletion] = []
        self._removing: frozenset[Deletion] = frozenset()
        self._not_before = 0.0
        self.must_drop_earlier_snapshots = False

    @property
    def pending(self) -> Sequence[Deletion]:
        """The deletions so far, oldest first."""
        return tuple(self._pending)

    def is_due(self, now: float) -> bool:
        """Return whether the files must no longer keep what was deleted."""
        due_at = self._pending[0].deleted_at + REMOVED_AFTER_S if self._pending else now + 1
        return now >= max(due_at, self._not_before)

    def begin(self, deletions: Sequence[Deletion]) -> None:
        """Note that the snapshot whose notes come next removes these `deletions`."""
        self._removing = frozenset(deletions)

    def done(self) -> None:
        """Note that the snapshot has been taken."""
        self._pending = [other for other in self._pending if other not in self._removing]
        self._removing = frozenset()

    def failed(self, now: float) -> None:
        """Note that not everything could be removed: it is tried again after a while."""
        self._removing = frozenset()
        self._not_before = now + RETRY_AFTER_S

    def located(self, deletions: Sequence[Deletion]) -> Sequence[tuple[User, SessionId, float]]:
        """Return the user, session and time of opening of each, except of erased users."""
        users = ((self._tagged(deletion.tag), deletion) for deletion in deletions)
        return [
            (user, deletion.session, deletion.opened_at)
            for user, deletion in users
            if user is not None
        ]

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Note a deletion."""
        if isinstance(event, e.SessionDeleted):
            self.replay(user, event)

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """All deletions after the snapshot."""
        return {e.SessionDeleted: _ANY_AGE_S}

    def replay(self, user: User, event: e.Event) -> None:
        """Note a past deletion."""
        if isinstance(event, e.SessionDeleted):
            deletion = Deletion(self._tag(user), event.session, event.opened_at, event.at)
            self._pending.append(deletion)

    def snapshot(self) -> object:
        """Return the deletions that remain, and whether the snapshot removes others."""
        left = [other for other in self._pending if other not in self._removing]
        return [left, bool(self._removing)]

    def restore(self, notes: Notes) -> None:
        """Restore the deletions."""
        left, self.must_drop_earlier_snapshots = notes or ((), False)
        self._pending = [Deletion(*values) for values in left]
