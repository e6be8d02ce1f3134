"""One run, and its trace in words."""

from __future__ import annotations

import contextlib
import gc
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogPublisher

from tests.simulation.disk import DiskState, Faults, Fuse
from tests.simulation.invariants import Invariants, Violation
from tests.simulation.models import Models
from tests.simulation.network import Network
from tests.simulation.node import WALL, Node, seeded
from tests.simulation.people import Operator, Person
from tests.simulation.plan import Fault, Plan
from tests.support.story import configuration
from wxgptd import config as cfg
from wxgptd.domain.replies.texts import Texts

NAMES = ("alice", "bob", "carol", "dave")
SHM = Path("/dev/shm")
CHECK_EVERY_S = 20.0
UNTIL_SETTLED_S = 150.0
"""Until every answer has ended: a silent model server takes longest."""

P_ARRIVES = 0.9
MAX_QUEUE_S = 1_200.0
"""Questions may queue for longer, if only one answer may be written at once."""

AFTERMATH_S = 2.0
"""How long a healed fault of the disk may still delay replies."""

COLLECTED = "cannot reuse already awaited coroutine"
"""Collecting a dead process's coroutines releases its locks, which resumes others of them."""

MAX_STEPS_AT_ONCE = 10_000
"""A run that makes more steps without time passing never ends."""


class Outcome(NamedTuple):
    """The trace, a line for each thing that happened, and the invariant violated, if any."""

    trace: list[str]
    violation: str
    invariant: str


class Run:
    """A run in progress."""

    def __init__(self, plan: Plan, disk: DiskState, clock: Clock) -> None:
        self.trace: list[str] = []
        self._plan = plan
        self._clock = clock
        seed = plan.seed
        configurations = list(_configurations(Random(f"configurations {seed}")))
        self._models = Models(seed, self._tell)
        self._node = Node(disk, clock, configurations[0], self._models.respond, self._tell)
        self._node.clock_offset = plan.clock_offset
        self._network = Network(self._node, seed, self._tell)
        self._network.p_arrives = P_ARRIVES
        self._people = [
            Person(name, self._node, self._network, Random(f"{name} {seed}"), self._tell)
            for name in NAMES[: plan.users]
        ]
        names = [person.name for person in self._people]
        self._operator = Operator(
            self._node, names, configurations, Random(f"operator {seed}"), self._tell
        )
        self._invariants = Invariants(self._node, self._network, self._models, self._people)
        for fault in plan.faults:
            clock.callLater(fault.at, self._inject, fault)

    def _tell(self, what: str) -> None:
        self.trace.append(f"{self._clock.seconds():8.3f} {what}")

    def go(self) -> None:
        """Run to the end, and check everything.

        Raises:
            Violation: an invariant does not hold.
        """
        self._node.start()
        self._step_until(self._plan.seconds)
        self._tell("quiescing: faults are healed, outstanding work drains")
        self._heal_everything()
        self._operator.idle = True
        for person in self._people:
            person.idle = True
        if not self._node.is_up:
            self._node.start()
        self._step_until(self._clock.seconds() + UNTIL_SETTLED_S)
        latest = self._clock.seconds() + MAX_QUEUE_S
        while self._node.model.running and self._clock.seconds() < latest:
            self._step_until(self._clock.seconds() + CHECK_EVERY_S)
        self._invariants.before_the_last_stop()
        self._node.stop()
        self._node.start()
        self._invariants.at_the_end()
        self._node.stop()

    def close(self) -> None:
        """End whatever a violation left running."""
        self._node.crash(power_cut=False, why="the run is over")

    def _step_until(self, ends: float) -> None:
        check_at = self._clock.seconds() + CHECK_EVERY_S
        steps, last = 0, -1.0
        while self._clock.seconds() < ends:
            self._node.step(ends)
            self._invariants.after_a_step()
            now = self._clock.seconds()
            steps, last = (steps + 1, last) if now == last else (0, now)
            if steps > MAX_STEPS_AT_ONCE:
                raise Violation("progress", "time stands still")
            if now >= check_at and self._node.is_up and not self._node.is_failing:
                self._invariants.live_state_is_the_fold()
                check_at += CHECK_EVERY_S

    # Faults.

    def _inject(self, fault: Fault) -> None:
        node, now = self._node, self._clock.seconds()
        self._tell(f"fault: {fault.kind} for {fault.lasts_s} s")
        disk, excuse = node.disk.faults, self._invariants.history.disk_troubles.append
        until = now + fault.lasts_s
        match fault.kind:
            case "crash" | "power cut":
                node.crash(power_cut=fault.kind == "power cut", why="at any moment")
                node.start_after(fault.lasts_s)
            case "crash in the log" | "power cut in the log":
                after = 1 + int(fault.size * 12)
                node.crash_in_the_log(after, power_cut=fault.kind.startswith("power"))
            case "crash in a start" | "power cut in a start":
                cut = fault.kind.startswith("power")
                node.crash(power_cut=fault.size < 0.5, why="at any moment")
                node.crash_in_the_next_start(1 + int(fault.size * 16) % 8, power_cut=cut)
                node.start_after(fault.lasts_s)
            case "crash in a stop" | "power cut in a stop":
                node.stop(Fuse(1 + int(fault.size * 5), fault.kind.startswith("power")))
                node.start_after(fault.lasts_s)
            case "clean stop":
                node.stop()
                node.start_after(fault.lasts_s)
            case "stall":
                disk.stalled_s += fault.lasts_s
                self._clock.callLater(fault.lasts_s, self._end_stall, fault.lasts_s)
                excuse((now, until + fault.lasts_s + AFTERMATH_S))
            case "write fails":
                disk.fail_next_write = True
            case "sync fails":
                disk.fail_next_sync = True
            case "full disk":
                disk.full += 1
                self._clock.callLater(fault.lasts_s, self._make_room)
                excuse((now, until + AFTERMATH_S))
            case "short writes":
                disk.short_writes += 1
                self._clock.callLater(fault.lasts_s, self._end_short_writes)
            case "clock step":
                node.clock_offset += 26.0 * (fault.size - 0.4)
                self._invariants.history.clock_stepped_at.append(now)
            case "bad network":
                self._network.p_arrives = 0.3
                self._clock.callLater(fault.lasts_s, self._restore_network)

    def _end_stall(self, seconds: float) -> None:
        self._node.disk.faults.stalled_s = max(0.0, self._node.disk.faults.stalled_s - seconds)

    def _make_room(self) -> None:
        self._node.disk.faults.full = max(0, self._node.disk.faults.full - 1)

    def _end_short_writes(self) -> None:
        self._node.disk.faults.short_writes = max(0, self._node.disk.faults.short_writes - 1)

    def _restore_network(self) -> None:
        self._network.p_arrives = P_ARRIVES

    def _heal_everything(self) -> None:
        self._node.disk.faults = Faults()
        self._node.abandon_crash()
        self._network.p_arrives = 1.0


def _configurations(random: Random) -> Iterator[cfg.Config]:
    """Yield the configurations that the operator switches between."""
    keep = random.choice([None, None, 60.0])
    log = cfg.Log(snapshot_every=random.choice([7, 20, 60]), keep=keep)
    limits = cfg.Limits(
        messages_per_minute=random.choice([0, 0, 6, 20]),
        questions_per_day=random.choice([0, 0, 8, 30]),
        daily_budget=random.choice([0.0, 0.0, 0.0, 0.15]),
    )
    running = random.choice([0, 1, 2, 3])
    open_directly = random.random() < 0.4
    kinds = [(300.0, "auto"), (20.0, "auto"), (300.0, 0), (60.0, 4)]
    random.shuffle(kinds)
    for ttl_s, timeouts in kinds:
        assistant = cfg.Assistant(
            base_url="http://model.test/v1",
            model="m-1",
            api_key=cfg.Secret("sk-secret"),
            max_running=running,
            price_per_million=cfg.Price(input=1_000.0, output=1_000.0),
        )
        yield configuration(
            log=log,
            links=cfg.Links(ttl=keep or 7 * 86_400.0),
            session=cfg.Session(ttl=ttl_s),
            window=cfg.Window(deliberate_timeouts_per_5min=timeouts),
            account={"main": _account(open_directly)},
            assistant={"chatgpt": assistant},
            limits=limits,
            # A settled reply is worded again for each attempt; a reload may change the ttl in it.
            texts=Texts(ai_label="", session_opened="你好。", session_cleared="好的。"),
        )


def _account(open_directly: bool) -> cfg.Account:
    account = configuration().account["main"]
    return cfg.Account(token=account.token, open_without_command=open_directly)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """Yield the path of a directory to create, in memory where possible."""
    base = Path(tempfile.mkdtemp(prefix="wxgptd-simulation-", dir=SHM if SHM.is_dir() else None))
    try:
        yield base / "state"
    finally:
        shutil.rmtree(base, ignore_errors=True)


class _Problems:
    """Errors that the service logs, and unhandled failures."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        if COLLECTED in eventAsText(event):
            return
        if event.get("log_level") is LogLevel.critical or event.get("isError"):
            self.found.append(eventAsText(event, includeTimestamp=False))


class Execution(Protocol):
    """A run that can be carried out once."""

    trace: list[str]

    def go(self) -> None: ...

    def close(self) -> None: ...


def run(plan: Plan) -> Outcome:
    """Execute a plan. Whatever is raised on the way is a violation, too."""
    problems, clock = _Problems(), Clock()
    gc.collect()  # failures of earlier work must not be counted here
    globalLogPublisher.addObserver(problems)
    try:
        with _directory() as root:
            disk = DiskState(root, Random(f"disk {plan.seed}"))
            with seeded(plan.seed, lambda: WALL + clock.seconds(), disk):
                outcome = execute(Run(plan, disk, clock), root)
                gc.collect()  # a failure that nothing handles is logged when it is collected
    finally:
        globalLogPublisher.removeObserver(problems)
    if not outcome.violation and problems.found:
        return Outcome(outcome.trace, problems.found[0], "no errors")
    return outcome


def execute(run: Execution, root: Path) -> Outcome:
    """Carry out a run that has been set up; `root` is left out of what it says."""
    try:
        run.go()
    except Violation as violation:
        return Outcome(run.trace, str(violation), violation.invariant)
    except Exception as error:  # noqa: BLE001 (whatever fails is found by this seed)
        text = f"{type(error).__name__}: {error}".replace(str(root), "STATE_DIR")
        return Outcome(run.trace, text, type(error).__name__)
    finally:
        run.close()
    return Outcome(run.trace, "", "")
