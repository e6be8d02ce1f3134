"""Follow the shared log: its commit groups become part of the local log and of the state."""

from __future__ import annotations

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from wxgptd.domain.model.state import Inconsistent
from wxgptd.ports.appending import Group, ReplicaRefused, ReplicaUnavailable
from wxgptd.ports.replica import Bounds, Claim, Foreign, Message, Replica
from wxgptd.ports.store import FollowingStore
from wxgptd.service.state.journal import Journal

log = Logger()

NO_EVENT = 1 << 62
AT_ONCE = 64
"""At most this many messages are fetched at once."""


class Following:
    """Follows the shared log from where the local one ends.

    `place` is that of the last message which has been applied, and `claim` that of the last claim;
    `claimed_by` is the run of the node that made it. `erased` are the references that the last
    commit group erased, whose keys its node may not have deleted yet.
    """

    def __init__(self, replica: Replica, store: FollowingStore, journal: Journal) -> None:
        self._replica = replica
        self._store = store
        self._journal = journal
        self._lock = DeferredLock()
        self._newest = 0
        self.place = 0
        self.claim = 0
        self.claimed_by = ""
        self.erased: tuple[str, ...] = ()
        self.is_active = True
        """Whether this node follows; it does not while it leads."""

    @property
    def seq(self) -> int:
        """The number of the last event that has been applied."""
        return self._store.figures().last_seq

    async def locate(self) -> None:
        """Find the place where the local log ends.

        Raises:
            ReplicaRefused: the local log is not the beginning of the shared one.
        """
        bounds = await self._replica.bounds()
        after, low, high = self.seq, bounds.first, bounds.last + 1
        while low < high:  # find the first message after event `after`
            middle = (low + high) // 2
            if await self._first_seq(middle, bounds.last) > after:
                high = middle
            else:
                low = middle + 1
        await self._require_continuation(bounds, low, after)
        self.place = low - 1
        self.expect(bounds.last)

    async def _require_continuation(self, bounds: Bounds, place: int, after: int) -> None:
        if after < self._replica.begins_after:
            raise ReplicaRefused(
                f"the log here ends at event {after}, but the cluster's log begins after event "
                f"{self._replica.begins_after}",
                hint="`wxgpt backup` on another node, and `wxgpt restore` here",
            )
        if bounds.first > bounds.last > 0:
            raise ReplicaRefused(
                "the servers have dropped all messages, so no node can tell what it lacks",
                hint="on the node with the newest log (wxgpt log stat): wxgpt cluster init "
                "--replace",
            )
        if place <= bounds.last:
            due = await self._first_seq(place, bounds.last)
            if after + 1 < due < NO_EVENT:
                raise ReplicaRefused(
                    f"the log here ends at event {after}, but the cluster keeps only the events "
                    f"from {due} on",
                    hint="`wxgpt backup` on another node, and `wxgpt restore` here",
                )
        for earlier in range(place - 1, bounds.first - 1, -1):
            message = await self._message(earlier)
            if isinstance(message, Foreign):
                continue
            if isinstance(message, Claim):
                if earlier > self.claim:
                    self.claim, self.claimed_by = earlier, message.run
                continue
            last_seq = message.first_seq + message.events - 1
            if last_seq != after or not self._store.has(message):
                raise ReplicaRefused(
                    f"the log here ends at event {after} and is not the beginning of the "
                    f"cluster's, where event {last_seq} comes last before that place",
                    hint="was it written without the cluster since? Move its state directory "
                    "aside, then `wxgpt backup` on another node, and `wxgpt restore` here",
                )
            self.erased = message.erased
            return

    async def _first_seq(self, place: int, last: int) -> int:
        """Return the event that the message at `place`, or the next one of a node, begins with."""
        for each in range(place, last + 1):
            message = await self._message(each)
            if not isinstance(message, Foreign):
                return message.first_seq
        return NO_EVENT

    async def _message(self, place: int) -> Message:
        (message,) = await self._replica.read(place, 1) or (None,)
        if message is None:  # the server that answered lacks it, or it has just been dropped
            raise ReplicaUnavailable(f"message {place} of the cluster's log cannot be read")
        return message

    def expect(self, place: int) -> None:
        """Note that there is a message at `place`."""
        self._newest = max(self._newest, place)

    async def catch_up(self) -> None:
        """Apply all messages up to the last one that is expected, and any after it.

        While the disk is full, nothing is fetched.

        Raises:
            WxgptError: a message cannot be read or applied.
        """
        await self._lock.acquire()
        try:
            while self.is_active and not self._store.full():
                most = min(AT_ONCE, max(1, self._newest - self.place))
                messages = await self._replica.read(self.place + 1, most)
                for message in messages:
                    await self._apply(message)
                    self.place += 1
                if not messages and self.place < self._newest:
                    await self._require_next()
                if len(messages) < most or self.place >= self._newest:
                    return
        finally:
            self._lock.release()

    async def _require_next(self) -> None:
        """Check that the servers still have the next message.

        Raises:
            ReplicaRefused: they have dropped it.
        """
        bounds = await self._replica.bounds()
        self._newest = bounds.last
        if bounds.first > self.place + 1 and bounds.last > self.place:
            raise ReplicaRefused(
                f"the cluster's log begins with message {bounds.first}, but this node has only "
                f"those up to {self.place}",
                hint="`wxgpt backup` on another node, and `wxgpt restore` here",
            )

    async def _apply(self, message: Message) -> None:
        match message:
            case Claim(run=run):
                self.claim, self.claimed_by = self.place + 1, run
            case Group():
                await self._take(message)
            case Foreign():
                log.error(
                    "message {place} of the cluster's log was not written by a node: who else can "
                    "write to the NATS servers?",
                    id="log-foreign",
                    place=self.place + 1,
                )

    async def _take(self, group: Group) -> None:
        if group.first_seq != self.seq + 1:
            raise Inconsistent(
                f"the cluster's log continues with event {group.first_seq}, "
                f"but the log here with event {self.seq + 1}"
            )
        unknown = self._store.unknown(group)
        keys = await self._replica.keys(unknown) if unknown else {}
        events = self._store.decode(group, keys)
        # Read the states first: they must not include what is only being written.
        states = {user: self._journal.state(user) for user, _ in events}
        self._store.take(group)
        for user, event in events:
            states[user] = self._journal.apply(user, event, states[user])
        self.erased = group.erased
