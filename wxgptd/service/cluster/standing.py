"""Whether this node leads: this decides, and everything else is told.

A node follows until no leader has been heard for a while; then it fetches what it lacks and appends
a claim. The append succeeds for one node only, and every append of the former leader fails from
then on. So a mistake about which node is alive costs time, and never an event.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine
from math import inf

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from wxgptd.errors import WxgptError
from wxgptd.ports.appending import ReplicaUnavailable, Superseded
from wxgptd.ports.replica import Beat, Claim, Listener, NodeFacts, Replica
from wxgptd.ports.store import FollowingStore
from wxgptd.service.cluster.host import Host, Role, Surroundings, Work
from wxgptd.service.cluster.nodes import OTHERS_BEAT_S, Heard, Nodes

log = Logger()

LEADER_BEATS_S = 0.4
WATCH_EVERY_S = 0.1
AGAIN_AFTER_S = 0.2
LONGEST_SILENCE_S = 86_400.0

STALLED_S = 0.5
"""A watch that is later than this was not a silence of the leader's, but of this process."""

UNREACHABLE_AFTER_S = 1.0
"""Attempts are held rather than passed on to a leader that has been silent for so long, and left to
other nodes once no server has been reached for so long."""

COMMITS_WITHIN_S = 3.0
"""How long a node that hands over waits until its last events are stored."""


class Standing:
    """The node's part in the cluster. `start` it once the local log is loaded."""

    def __init__(
        self,
        node: NodeFacts,
        replica: Replica,
        store: FollowingStore,
        work: Work,
        host: Host,
        around: Surroundings,
    ) -> None:
        self._node = node
        self._replica = replica
        self._store = store
        self._following, self._live = work
        self._host = host
        self._around = around
        self._clock = around.clock
        self.cluster = node.cluster
        self.role = Role.STARTING
        self.takeovers = self.claims_lost = 0
        self._claim = 0
        self._leader: Heard | None = None
        self.nodes = Nodes(node.name, around.clock)
        self._quiet_since = self._watched_at = self._told_at = -inf
        self._renewed = 0, -inf
        self._connected_at, self._isolated = inf, False
        self._url = ""
        self._retires = False
        self._catching_up = False
        self._loop = LoopingCall(self._watch)
        self._loop.clock = around.clock

    # What is known.

    @property
    def leads(self) -> bool:
        """Whether this node leads."""
        return self.role is Role.LEADING

    @property
    def leader(self) -> Beat | None:
        """The last beat of the node that leads, if it is another one and was heard lately."""
        leader = self._leader
        is_fresh = leader is not None and self.nodes.silent_for(leader) < UNREACHABLE_AFTER_S
        return leader.beat if leader is not None and is_fresh and not self.leads else None

    @property
    def is_stalled(self) -> bool:
        """Whether the servers store nothing at the moment."""
        return self._store.stalled_s() > 1.0

    @property
    def lag(self) -> int:
        """How many events this node lacks, as far as it knows."""
        leader = self.leader
        return max(0, leader.seq - self._following.seq) if leader is not None else 0

    def silent_s(self) -> float:
        """Return how long no leader has been heard, in seconds; 0 if this node leads."""
        if self.leads:
            return 0.0
        since = self._leader.at if self._leader is not None else self._quiet_since
        return min(self._clock.seconds() - since, LONGEST_SILENCE_S)

    def beat(self) -> Beat:
        """Return what this node tells the others now."""
        leads = self.leads
        return Beat(
            node=self._node.name,
            run=self._node.run,
            url=self._node.url,
            leads=leads,
            claim=self._claim if leads else 0,
            place=self._store.place() if leads else self._following.place,
            seq=self._following.seq,
            version=self._node.version,
            kinds=self._node.kinds,
            config=self._around.config(),
            wall=self._around.wall(),
            hands_over=self.role is Role.HANDED_OVER or self._retires,
        )

    # Following.

    async def start(self) -> None:
        """Join the cluster, and apply what the local log lacks.

        Raises:
            WxgptError: this node cannot take part.
        """
        live = self._live
        self._host.isolate(isolated=True)  # until a server has been reached
        await self._replica.start(Listener(self._hear, self._changed, live.wanted, live.live))
        self._host.isolate(isolated=False)
        await self._persist(self._following.locate)
        await self._persist(self._following.catch_up)
        self.role = Role.FOLLOWING
        self._quiet_since = self._watched_at = self._clock.seconds()
        self._loop.start(WATCH_EVERY_S).addErrback(self._failed)
        live.begin()

    async def _persist(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
                return
            except ReplicaUnavailable as error:
                log.warn(
                    "{error}; trying again",
                    id="nats-failed",
                    error=error,
                    bounded_as="cluster start",
                )
                await deferLater(self._clock, AGAIN_AFTER_S)

    def _changed(self) -> None:
        """Fetch what may be new."""
        if self.role is Role.FOLLOWING:
            self._following.expect(self._following.place + 1)
            self._catch_up()

    def _hear(self, beat: Beat) -> None:
        """Take note of another node's beat."""
        now = self._clock.seconds()
        self.nodes.hear(beat)
        if beat.leads:
            self._hear_leader(beat, now)
        elif beat.hands_over and self._leader is not None and self._leader.beat.run == beat.run:
            self._leader = None
            self._following.expect(beat.place)
            if self.role is Role.FOLLOWING and not self._retires:
                self._follow("")
                self._begin_claiming()

    def _hear_leader(self, beat: Beat, now: float) -> None:
        if self.leads:
            if beat.claim > self._claim:
                self._fail(Superseded(f"node {beat.node} has taken the lead"))
            return
        if self.role is Role.HANDING_OVER and beat.claim > self._claim:
            self._fail(Superseded(f"node {beat.node} has taken the lead"))
            return
        if beat.claim < self._following.claim:
            return  # it has not found out yet that it was superseded
        self._leader = Heard(beat, now)
        self._following.expect(beat.place)
        if self.role in (Role.FOLLOWING, Role.HANDED_OVER):
            self.role = Role.FOLLOWING
            self._follow(beat.url)
            self._catch_up()

    def _follow(self, url: str) -> None:
        if url != self._url:
            self._url = url
            whom = self._leader.beat.node if url and self._leader is not None else "no node"
            log.info("following {whom}", id="following", whom=whom)
            self._host.follow(url)

    def _catch_up(self) -> None:
        if not self._catching_up:
            self._catching_up = True
            self._run(self._keep_up())

    async def _keep_up(self) -> None:
        try:
            await self._following.catch_up()
        except ReplicaUnavailable:
            pass  # the next beat tries again
        finally:
            self._catching_up = False

    def _run(self, work: Coroutine[Deferred[object], object, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, WxgptError):
            log.failure("following the cluster failed unexpectedly", failure, id="unexpected")
            error = WxgptError(f"following the cluster failed: {error!r}")
        self._fail(error)

    def _fail(self, error: WxgptError) -> None:
        self.role = Role.SUPERSEDED
        self._host.fail(error)

    # Watching.

    def _watch(self) -> None:
        now = self._clock.seconds()
        if now - self._watched_at > WATCH_EVERY_S + STALLED_S:
            self._quiet_since = now  # this process was stopped, so it heard nothing
        self._watched_at = now
        period_s = LEADER_BEATS_S if self.leads else OTHERS_BEAT_S
        if now - self._told_at >= period_s - WATCH_EVERY_S / 2:
            self._tell(now)
        self._renew(now)
        self._look_at_the_connection(now)
        if self.role is not Role.FOLLOWING:
            return
        if self._url and self.leader is None:
            self._follow("")
        connected_since = self._replica.connected_since
        if connected_since is None:
            self._quiet_since = now
            return
        heard_at = self._leader.at if self._leader is not None else -inf
        silent_s = now - max(heard_at, self._quiet_since, connected_since)
        may_lead = not self._retires and not self._store.full()
        if silent_s >= self._node.dead_after_s and may_lead:
            self._begin_claiming()

    def _look_at_the_connection(self, now: float) -> None:
        if self._replica.connected_since is not None:
            self._connected_at = now
        isolated = now - self._connected_at > UNREACHABLE_AFTER_S
        if isolated != self._isolated:
            self._isolated = isolated
            self._host.isolate(isolated=isolated)

    def _renew(self, now: float) -> None:
        """Keep the shared log from running empty while nothing happens."""
        place = self._store.place() if self.leads else 0
        if place != self._renewed[0]:
            self._renewed = place, now
        elif place and now - self._renewed[1] >= self._node.renew_after_s:
            self._renewed = place, now
            self._store.renew()

    def _tell(self, now: float) -> None:
        self._told_at = now
        self._replica.tell(self.beat())

    # Leading.

    def _begin_claiming(self) -> None:
        self.role = Role.CLAIMING
        self._run(self._take_over())

    async def _take_over(self) -> None:
        """Fetch what is missing and claim the lead; follow on if another node was faster."""
        before = self._leader
        try:
            newest = (await self._replica.bounds()).last
            self._following.expect(newest)
            await self._following.catch_up()
            claimed = self._following.claim, self._following.claimed_by
            if claimed == (newest, self._node.run):
                place = newest  # the last attempt was stored, but its outcome was not known
            elif self._following.place != newest or self._leader is not before:
                raise ReplicaUnavailable("the leader is not dead, or there is something new")
            else:
                claim = Claim(self._following.seq + 1, self._node.name, self._node.run)
                place = await self._replica.claim(claim, newest)
            await self._replica.erase(self._following.erased)
        except (Superseded, ReplicaUnavailable) as error:
            log.warn(
                "not leading: {error}", id="not-leading", error=error, bounded_as="claim failed"
            )
            self.claims_lost += isinstance(error, Superseded)
            self.role = Role.FOLLOWING
            self._quiet_since = self._clock.seconds() - self._node.dead_after_s / 2
            self._catch_up()
            return
        self._following.place = self._following.claim = place
        self._following.claimed_by = self._node.run
        self._lead(place)

    def _lead(self, place: int) -> None:
        self.takeovers += 1
        self._following.is_active = False
        self._claim = place
        self._leader = None
        self._store.lead(place)
        self.role, self._url = Role.LEADING, ""
        self._live.leads = True
        log.info(
            "{node} leads from event {seq} on",
            id="leading",
            node=self._node.name,
            seq=self._following.seq,
        )
        self._host.lead()
        self._tell(self._clock.seconds())

    async def catch_up(self) -> None:
        """Apply everything that was recorded before the call, unless the servers do not answer."""
        if self.role is not Role.FOLLOWING:
            return
        with contextlib.suppress(ReplicaUnavailable):
            self._following.expect((await self._replica.bounds()).last)
            await self._following.catch_up()

    async def retire(self) -> None:
        """Hand over, and never lead again: the daemon is about to stop."""
        self._retires = True
        with contextlib.suppress(WxgptError):
            await self.hand_over()
        self._tell(self._clock.seconds())

    async def hand_over(self) -> Collection[str]:
        """Stop leading, so that another node takes over at once; return the names of the others.

        Nothing happens if this node does not lead, or if no other node can. If its last events
        cannot be stored, the daemon stops.
        """
        others = self.nodes.able(self.beat())
        if not self.leads or not others or not await self._can_commit():
            return others if not self.leads else ()
        self.role = Role.HANDING_OVER
        self._live.leads = False
        try:
            await self._host.stop_leading().addTimeout(COMMITS_WITHIN_S, self._clock)
        except TookTooLong:
            self._fail(ReplicaUnavailable("the servers do not store the last events"))
            return ()
        self._following.place = self._store.place()
        self._following.is_active = True
        self._store.lead(None)
        self.role = Role.HANDED_OVER
        self._quiet_since = self._clock.seconds()
        self._tell(self._quiet_since)
        self._clock.callLater(self._node.dead_after_s, self._follow_on)
        return others

    async def _can_commit(self) -> bool:
        """Return whether a quorum of the servers stores what this node appends."""
        place, began = self._store.place(), self._clock.seconds()
        self._store.renew()
        while self._store.place() == place:
            if self._clock.seconds() - began > COMMITS_WITHIN_S or not self.leads:
                return False
            await deferLater(self._clock, 0.01)
        return True

    def _follow_on(self) -> None:
        self.role = Role.FOLLOWING if self.role is Role.HANDED_OVER else self.role

    async def end(self) -> None:
        """Leave the cluster."""
        if self._loop.running:
            self._loop.stop()
        self._live.end()
        await self._replica.stop()
