"""Several nodes, the log that they share, and what goes wrong between them.

    python -m tests.simulation.cluster 7           # replay seed 7
    python -m tests.simulation.cluster --seeds 1000

The invariants are those of one node, for every node, and some more: the nodes' logs are equal,
nothing that was acknowledged is lost, only the node that claimed the lead last has its events
acknowledged, and no key of an erased user is left on the servers.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tests.simulation.disk import DiskState
from tests.simulation.hub import Hub
from tests.simulation.invariants import Invariants, Violation
from tests.simulation.models import Models
from tests.simulation.network import ARRIVES, Message, Network, _Read
from tests.simulation.node import WALL, Append, Erasure, Node, seeded
from tests.simulation.people import Operator, Person
from tests.simulation.shared_log import SharedLog, SimulatedReplica
from tests.simulation.story import NAMES, SHM, Outcome, _configurations, _Problems, execute
from tests.support.story import URL
from wxgptd import config as cfg
from wxgptd.domain.model import events as e
from wxgptd.errors import WxgptError
from wxgptd.eventlog import codec
from wxgptd.eventlog.store import LogStore
from wxgptd.eventlog.unavailable import StoreUnavailable
from wxgptd.ports.appending import ReplicaRefused, ReplicaUnavailable, Superseded
from wxgptd.ports.replica import NodeFacts
from wxgptd.service.environment import ClusterPart
from wxgptd.wechat import envelope

SECONDS = 150.0
SETTLES_S = 40.0
DRAINS_S = 420.0
CHECK_EVERY_S = 10.0
RESTART_AFTER_S = 1.0
AFTERMATH_S = 22.0
DEAD_AFTER_S = 2.0
LEAVES_WITHIN_S = 1.0
MAX_STEPS_AT_ONCE = 20_000

KINDS = (
    "kill leader", "kill leader", "kill a node", "freeze leader", "freeze a node", "cut leader",
    "cut a node", "no quorum", "step down", "terminate leader", "lossy", "slow", "old version",
)  # fmt: skip

UNREADABLE = codec.TAGS[e.AttemptRepeated]
"""What a node of an old version cannot read."""


class Fault(NamedTuple):
    """A fault, `at` seconds after the start, for `lasts_s` seconds."""

    at: float
    kind: str
    lasts_s: float


class Plan(NamedTuple):
    """The parameters of a run."""

    seed: int
    nodes: int
    users: int
    seconds: float
    faults: tuple[Fault, ...]


def draw(seed: int) -> Plan:
    """Return the plan of a seed."""
    random, faults, at = Random(f"cluster {seed}"), [], 8.0
    while (at := at + random.expovariate(1 / 18.0)) < SECONDS - 30:
        lasts_s = random.uniform(0.3, 9.0)
        faults.append(Fault(round(at, 3), random.choice(KINDS), round(lasts_s, 3)))
    return Plan(seed, random.choice([2, 2, 3]), random.randrange(1, 4), SECONDS, tuple(faults))


class ClusterNode(Node):
    """One machine of the cluster. While it is frozen, its clock stands still."""

    def __init__(self, name: str, cluster: Cluster, shared: SharedLog, *more: Any) -> None:
        self.cluster = cluster
        self.name = name
        self.is_frozen = self.is_cut = self.is_old = False
        self.run = ""
        self._shared = shared
        self.replica: SimulatedReplica | None = None
        super().__init__(*more)
        self.acknowledged, self.erasures, self.used = (
            cluster.acknowledged, cluster.erasures, cluster.used,
        )  # fmt: skip
        self.on_acknowledged = cluster.note_acknowledged

    # Process starts and takeovers have one count for the whole cluster.

    @property
    def starts(self) -> int:  # type: ignore[override]
        return self.cluster.epoch

    @starts.setter
    def starts(self, _: int) -> None:
        self.cluster.epoch += 1

    def _part(self, store: LogStore, clock: Clock, hub: Hub) -> ClusterPart:
        self.run = f"{self.name}{self.cluster.epoch}"
        self.replica = SimulatedReplica(self._shared, self.run, clock, hub, lambda: self.is_cut)
        store.replica = self.replica
        if self.is_old:
            _forget_kind(store)
        facts = NodeFacts(
            cluster="main", name=self.name, run=self.run, url=f"http://node-{self.name}",
            version="0.1.0", kinds=(), dead_after_s=DEAD_AFTER_S, renew_after_s=30.0,
        )  # fmt: skip
        return ClusterPart(self.replica, store, facts)

    def _begin(self) -> None:
        self.service.state.journal.observe(lambda _, event, __: self.cluster.on_applied(event))
        Deferred.fromCoroutine(self.service.start()).addErrback(self._left)

    def _left(self, failure: Failure) -> None:
        if failure.check(WxgptError) is None:
            self.damages.append(failure.value)
        else:
            self._damaged(failure.value)

    def _damaged(self, error: Exception) -> None:
        expected = (
            Superseded, ReplicaUnavailable, ReplicaRefused, StoreUnavailable, codec.UnreadableEvent,
        )  # fmt: skip
        if not isinstance(error, expected):
            self.damages.append(error)
            return
        self.tell(f"{self.name} exits: {error}")
        self.world_clock.callLater(0, self.crash, power_cut=False, why="it exits")
        self.start_after(RESTART_AFTER_S)

    def _start_unless_up(self) -> None:
        if not self.is_up and not self.cluster.is_over:
            self.tell(f"{self.name} starts")
            self.start()

    def crash(self, *, power_cut: bool, why: str) -> None:
        """Kill the process."""
        if self.is_up:
            self.tell(f"{self.name} is killed: {why}")
            if self.replica is not None:
                self.replica.leave()
            self.is_frozen = False
        super().crash(power_cut=power_cut, why=why)

    def hand_over(self) -> None:
        """Let another node lead."""
        assert self.service.standing is not None
        Deferred.fromCoroutine(self.service.standing.hand_over()).addErrback(lambda _: None)

    def terminate(self) -> None:
        """Stop as SIGTERM does: hand over first."""
        hub = self.hub
        Deferred.fromCoroutine(self.service.retire()).addErrback(lambda _: None)
        self.world_clock.callLater(LEAVES_WITHIN_S, self._end, hub)

    def _end(self, hub: Hub) -> None:
        if self.is_up and self.hub is hub and self.replica is not None and not self.is_frozen:
            self.replica.leave()
            self.stop()

    @property
    def leads(self) -> bool:
        return self.is_up and self.service.standing is not None and self.service.standing.leads

    @property
    def is_reachable(self) -> bool:
        return self.is_up and not self.is_frozen

    def go_on(self) -> None:
        """Advance to the world's time, unless it is frozen."""
        if self.is_up and not self.is_frozen:
            self.clock.advance(max(0.0, self.world_clock.seconds() - self.clock.seconds()))
            self.flush()


def _forget_kind(store: LogStore) -> None:
    """Let a store be of a version that does not know a kind of event."""
    decode = store.decode

    def strict(group: Any, keys: Any) -> Any:
        events = decode(group, keys)
        if any(codec.TAGS[type(event)] == UNREADABLE for _, event in events):
            raise codec.unreadable(group.first_seq, UNREADABLE, 1)
        return events

    store.decode = strict  # type: ignore[method-assign]


class Cluster:
    """All nodes; to the invariants it looks like one, which is its leader or the one in `focus`."""

    def __init__(self, clock: Clock, config: cfg.Config, shared: SharedLog) -> None:
        self.world_clock = clock
        self.shared = shared
        self.used = [(0.0, config)]
        self.acknowledged: list[Append] = []
        self.erasures: list[Erasure] = []
        self.epoch = 0
        self.is_over = False
        self.nodes: list[ClusterNode] = []
        self.focus: ClusterNode | None = None
        self.looks_at_one = False
        self.clock_offset = 0.0
        self.is_failing = False
        self.on_acknowledged: Callable[[Append], None] = lambda _: None
        self.on_process_end: Callable[[], None] = lambda: None
        self.on_applied: Callable[[e.Event], None] = lambda _: None
        self.on_start: Callable[[], None] = lambda: None
        self._led = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    @property
    def node(self) -> ClusterNode:
        """The node that is looked at."""
        if self.focus is not None:
            return self.focus
        leading = [node for node in self.nodes if node.leads and not node.is_frozen]
        up = [node for node in self.nodes if node.is_reachable]
        return (leading or up or self.nodes)[0]

    @property
    def config(self) -> cfg.Config:
        return self.used[-1][1]

    def use(self, config: cfg.Config) -> None:
        self.used.append((self.world_clock.seconds(), config))

    @property
    def damages(self) -> list[Exception]:
        return [damage for node in self.nodes for damage in node.damages]

    @property
    def model(self) -> Any:
        return self.focus.model if self.looks_at_one and self.focus else _AllModels(self.nodes)

    def erasures_of(self, user: Any) -> list[Erasure]:
        return [erasure for erasure in self.erasures if erasure.openid == user.openid]

    def note_acknowledged(self, append: Append) -> None:
        self.on_acknowledged(append)

    def step(self, until: float) -> None:
        """Advance to the next event on any clock, but not past `until`."""
        running = [node for node in self.nodes if node.is_reachable]
        clocks = [self.world_clock, *(node.clock for node in running)]
        due = min((call.getTime() for clock in clocks for call in clock.calls), default=until)
        now = self.world_clock.seconds()
        self.world_clock.advance(max(0.0, min(due, until) - now))
        for node in self.nodes:
            node.go_on()
        led = self.shared.leader
        if led != self._led:
            self._led = led
            self.epoch += 1
            self.on_process_end()


class _AllModels:
    """The models of all nodes."""

    def __init__(self, nodes: list[ClusterNode]) -> None:
        self.running = sum(node.model.running for node in nodes)


class PassedOn(Resource):
    """Another node, as the daemon's HTTP client sees it."""

    isLeaf = True

    def __init__(self, node: ClusterNode) -> None:
        super().__init__()
        self._node = node

    def render(self, request: Request) -> int:
        node = self._node
        if not node.is_up:
            request.loseConnection()
            return NOT_DONE_YET
        if node.is_frozen:
            return NOT_DONE_YET
        left: list[object] = []
        request.notifyFinish().addErrback(left.append)
        headers = {"content-type": request.getHeader("content-type") or "text/xml"}
        response = node.http.post(
            URL + request.uri.decode(), data=request.content.read(), headers=headers
        )

        async def answer(arrived: Any) -> None:
            body = await arrived.content()
            if not left:
                request.setResponseCode(arrived.code)
                kinds = arrived.headers.getRawHeaders(b"content-type", [b"text/plain"])
                request.setHeader(b"content-type", kinds[0])
                request.write(body)
                request.finish()

        def fail(_: Failure) -> None:
            if not left:
                request.loseConnection()

        response.addCallback(lambda arrived: Deferred.fromCoroutine(answer(arrived)))
        response.addErrback(fail)
        request.notifyFinish().addErrback(lambda _: response.cancel())
        return NOT_DONE_YET


class ClusterNetwork(Network):
    """A web server that chooses a node at random, and another one if that one fails."""

    def __init__(self, cluster: Cluster, seed: int, tell: Callable[[str], None]) -> None:
        super().__init__(cluster, seed, tell)  # type: ignore[arg-type]
        self._cluster = cluster
        self._random = Random(f"web server {seed}")

    def _request(self, message: Message, args: Any, kwargs: Any) -> Deferred[Any]:
        nodes = self._random.sample(self._cluster.nodes, len(self._cluster.nodes))
        current: list[Deferred[Any]] = []
        result: Deferred[Any] = Deferred(lambda _: current and current[-1].cancel())

        def attempt(left: list[ClusterNode]) -> None:
            if result.called:
                return
            if not left:
                result.errback(Refused())
            elif not left[0].is_up:
                attempt(left[1:])
            elif not left[0].is_frozen:  # a frozen node never answers
                response = self._ask(left[0], message, args, kwargs)
                current.append(response)
                response.addCallbacks(
                    lambda value: None if result.called else result.callback(value),
                    lambda _: attempt(left[1:]),
                )

        attempt(nodes)
        return result

    def _ask(self, node: ClusterNode, message: Message, args: Any, kwargs: Any) -> Deferred[Any]:
        incarnation = node.hub
        response: Deferred[Any] = node.http.post(*args, **kwargs)

        async def read(arrived: Any) -> Any:
            body = await arrived.content()
            if incarnation.alive and arrived.code == 200:
                shown = "" if body in (b"", b"success") else envelope.parse(body).get("Content", "")
                message.replies.append((self._cluster.world_clock.seconds(), str(shown)))
            return _Read(arrived.code, body)

        return response.addCallback(lambda arrived: Deferred.fromCoroutine(read(arrived)))


class ClusterInvariants(Invariants):
    """The invariants of one node, which also hold for the cluster."""

    excuses = True
    """Whether a fault excuses a missing reply."""

    def _is_excused(self, message: Message) -> bool:
        """Return whether the network, or a fault, may have cost the reply."""
        return super()._is_excused(message) if self.excuses else message.ways[0] not in ARRIVES

    def after_a_step(self) -> None:
        """Check what happened in the last step; the limit on model calls is each node's own.

        Raises:
            Violation: an invariant does not hold.
        """
        cluster: Any = self._node
        for node in cluster.nodes:
            cluster.focus = node
            cluster.looks_at_one = True
            super().after_a_step()
        cluster.focus, cluster.looks_at_one = None, False

    def after_a_start(self) -> None:
        """Check nothing: a node that starts may lack what the others have."""

    def at_the_end_of_all(self, cluster: Cluster) -> None:
        """Check every node and the log that they share, with all of them up and at rest.

        Raises:
            Violation: an invariant does not hold.
        """
        if cluster.damages:
            raise Violation("no damage", f"a node failed: {cluster.damages[0]!r}")
        scans = {node.name: node.scan() for node in cluster.nodes}
        first, *others = scans.items()
        ours = {record.seq: record for record in first[1]}
        for name, scan in others:
            for theirs in scan:  # retention may have dropped the oldest of one of them
                if ours.get(theirs.seq, theirs) != theirs:
                    text = f"event {theirs.seq} is {theirs} on {name}, not {ours[theirs.seq]}"
                    raise Violation("equal logs", text)
            if max(ours, default=0) != max((record.seq for record in scan), default=0):
                raise Violation("equal logs", f"{name} and {first[0]} end with different events")
        for node in cluster.nodes:
            cluster.focus = node
            self.history.found(scans[node.name])
            Invariants.after_a_start(self)
            self.before_the_last_stop()
            self.at_the_end()
        cluster.focus = None
        erased = {
            record.user.openid for record in first[1] if isinstance(record.event, e.UserErased)
        }
        for reference in cluster.shared.keys:
            if reference in erased:
                raise Violation("erasure", f"the key of {reference} is still on the servers")


class ClusterRun:
    """A run in progress."""

    def __init__(
        self, plan: Plan, disks: list[DiskState], clock: Clock, *, excuses: bool = True
    ) -> None:
        self.trace: list[str] = []
        self._plan, self._clock = plan, clock
        seed = plan.seed
        configurations = list(_configurations(Random(f"configurations {seed}")))
        self._models = Models(seed, self._tell)
        self._shared = SharedLog(Random(f"shared {seed}"))
        self._random = Random(f"faults {seed}")
        self.cluster = Cluster(clock, configurations[0], self._shared)
        for name, disk in zip("abc", disks, strict=False):
            self.cluster.nodes.append(
                ClusterNode(
                    name, self.cluster, self._shared, disk, clock, configurations[0],
                    self._models.respond, self._tell,
                )
            )  # fmt: skip
        for node in self.cluster.nodes:
            for other in self.cluster.nodes:
                node.outside.hosts[f"node-{other.name}"] = PassedOn(other)
        self._network = ClusterNetwork(self.cluster, seed, self._tell)
        look: Any = self.cluster
        self._people = [
            Person(name, look, self._network, Random(f"{name} {seed}"), self._tell)
            for name in NAMES[: plan.users]
        ]
        self._operator = Operator(
            look,
            [p.name for p in self._people],
            configurations,
            Random(f"operator {seed}"),
            self._tell,
        )
        self.invariants = ClusterInvariants(look, self._network, self._models, self._people)
        self.invariants.excuses = excuses
        self.cluster.on_applied = self.invariants.history.applied
        for fault in plan.faults:
            clock.callLater(fault.at, self._inject, fault)

    def _tell(self, what: str) -> None:
        self.trace.append(f"{self._clock.seconds():8.3f} {what}")

    def go(self) -> None:
        """Run to the end, and check everything.

        Raises:
            Violation: an invariant does not hold.
        """
        for node in self.cluster.nodes:
            node.start()
        self._excuse(0.0, 8.0)
        self._step_until(self._plan.seconds)
        self._tell("quiescing")
        self._heal()
        self._operator.idle = True
        for person in self._people:
            person.idle = True
        for node in self.cluster.nodes:
            if not node.is_up:
                node.start()
        self._step_until(self._clock.seconds() + SETTLES_S)
        latest = self._clock.seconds() + DRAINS_S
        while self.cluster.model.running and self._clock.seconds() < latest:
            self._step_until(self._clock.seconds() + CHECK_EVERY_S)
        self._step_until(self._clock.seconds() + SETTLES_S)
        if sum(node.leads for node in self.cluster.nodes) != 1:
            roles = [f"{n.name}: {n.service.standing.role}" for n in self.cluster.nodes]
            raise Violation("one leader", f"after everything was healed: {roles}")
        self.invariants.at_the_end_of_all(self.cluster)

    def close(self) -> None:
        """End everything."""
        self.cluster.is_over = True
        for node in self.cluster.nodes:
            node.crash(power_cut=False, why="the run is over")

    def _step_until(self, ends: float) -> None:
        steps, last = 0, -1.0
        while self._clock.seconds() < ends:
            self.cluster.step(ends)
            self.invariants.after_a_step()
            self._one_leader_acts()
            now = self._clock.seconds()
            steps, last = (steps + 1, last) if now == last else (0, now)
            if steps > MAX_STEPS_AT_ONCE:
                raise Violation("progress", "time stands still")

    def _one_leader_acts(self) -> None:
        """Check that only the node which claimed the lead last has appended events."""
        if self._shared.trespasses:
            raise Violation("one leader", self._shared.trespasses[0])

    # Faults.

    def _excuse(self, begin: float, end: float) -> None:
        self.invariants.history.disk_troubles.append((begin, end))

    def _leader(self) -> ClusterNode:
        return self.cluster.node

    def _inject(self, fault: Fault) -> None:
        now, cluster = self._clock.seconds(), self.cluster
        target = self._leader() if "leader" in fault.kind else self._random.choice(cluster.nodes)
        self._tell(f"fault: {fault.kind} ({target.name}) for {fault.lasts_s} s")
        self._excuse(now - 1.0, now + fault.lasts_s + AFTERMATH_S)
        match fault.kind.removesuffix(" leader").removesuffix(" a node"):
            case "kill":
                target.crash(power_cut=False, why="a fault")
                target.start_after(fault.lasts_s)
            case "freeze":
                self._freeze(target)
                self._clock.callLater(fault.lasts_s, self._thaw, target)
            case "cut":
                target.is_cut = True
                self._clock.callLater(fault.lasts_s, setattr, target, "is_cut", False)
            case "no quorum":
                self._shared.is_down = True
                self._clock.callLater(fault.lasts_s, setattr, self._shared, "is_down", False)
            case "step down":
                if self._leader().leads:
                    self._leader().hand_over()
            case "terminate":
                if target.is_reachable:
                    target.terminate()
                target.start_after(LEAVES_WITHIN_S + fault.lasts_s)
            case "lossy":
                self._shared.p_lost = 0.5
                self._clock.callLater(fault.lasts_s, setattr, self._shared, "p_lost", 0.0)
            case "slow":
                self._shared.max_delay_s = 1.5
                self._clock.callLater(fault.lasts_s, setattr, self._shared, "max_delay_s", 0.005)
            case "old version":
                target.crash(power_cut=False, why="it is replaced by an old version")
                target.is_old = True
                target.start_after(RESTART_AFTER_S)
                self._clock.callLater(fault.lasts_s + 10.0, self._renew, target)

    def _freeze(self, node: ClusterNode) -> None:
        if node.is_up:
            node.is_frozen = True

    def _thaw(self, node: ClusterNode) -> None:
        node.is_frozen = False

    def _renew(self, node: ClusterNode) -> None:
        if node.is_old:
            node.is_old = False
            self._thaw(node)
            node.crash(power_cut=False, why="it is upgraded")
            node.start_after(RESTART_AFTER_S)

    def _heal(self) -> None:
        self._shared.is_down, self._shared.p_lost, self._shared.max_delay_s = False, 0.0, 0.005
        for node in self.cluster.nodes:
            node.is_cut = False
            self._thaw(node)
            self._renew(node)


def run(plan: Plan, *, excuses: bool = True) -> Outcome:
    """Execute a plan. Whatever is raised on the way is a violation, too.

    Unless there are `excuses`, a fault excuses no missing reply.
    """
    problems, clock = _Problems(), Clock()
    gc.collect()
    globalLogPublisher.addObserver(problems)
    base = Path(tempfile.mkdtemp(prefix="wxgptd-simulation-", dir=SHM if SHM.is_dir() else None))
    try:
        disks = [
            DiskState(base / name, Random(f"disk {name} {plan.seed}"))
            for name in "abc"[: plan.nodes]
        ]
        with ExitStack() as stack:
            stack.enter_context(seeded(plan.seed, lambda: WALL + clock.seconds(), disks[0]))
            outcome = execute(ClusterRun(plan, disks, clock, excuses=excuses), base)
            gc.collect()
    finally:
        globalLogPublisher.removeObserver(problems)
        shutil.rmtree(base, ignore_errors=True)
    if not outcome.violation and problems.found:
        return Outcome(outcome.trace, problems.found[0], "no errors")
    return outcome


def main() -> int:
    """Run seeds; return 1 if an invariant is violated."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.seed is not None:
        outcome = run(draw(options.seed))
        print(*outcome.trace, outcome.violation or "no invariant is violated", sep="\n")
        return int(bool(outcome.violation))
    failed = 0
    for seed in range(options.first, options.first + options.seeds):
        outcome = run(draw(seed))
        if outcome.violation:
            failed += 1
            print(f"seed {seed}: {outcome.invariant}: {outcome.violation[:300]}", flush=True)
    print(f"{options.seeds} seeds, {failed} violations")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
