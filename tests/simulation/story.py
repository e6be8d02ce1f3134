"""One run: everything that a plan says and its seed decides, in order, told in words."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from math import inf
from pathlib import Path
from random import Random
from typing import NamedTuple

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogPublisher

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
CHECK_EVERY_S = 30.0
UNTIL_SETTLED_S = 150.0
"""Until every answer has ended: a silent model server takes longest."""

AFTERMATH_S = 6.0
"""After this, a fault no longer delays a reply."""


class Outcome(NamedTuple):
    """What happened, a line each, and the invariant that was violated, if any."""

    trace: list[str]
    violation: str


class Run:
    """A run in progress."""

    def __init__(self, plan: Plan, root: Path, clock: Clock) -> None:
        self.trace: list[str] = []
        self._plan = plan
        self._clock = clock
        seed = plan.seed
        configurations = list(_configurations(Random(f"configurations {seed}")))
        self._models = Models(seed, self._tell)
        self._node = Node(root, seed, clock, configurations[0], self._models.respond, self._tell)
        self._network = Network(self._node, seed, self._tell)
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
            clock.callLater(fault.at, self._strike, fault)

    def _tell(self, what: str) -> None:
        self.trace.append(f"{self._clock.seconds():8.3f} {what}")

    def go(self) -> None:
        """Run to the end, and check everything."""
        self._step_until(self._plan.seconds)
        self._tell("the end: everything is repaired, and what is open is finished")
        self._repair()
        self._network.quality = 1.0
        self._operator.rests = True
        for person in self._people:
            person.rests = True
        if not self._node.is_up:
            self._node.start()
        self._step_until(self._clock.seconds() + UNTIL_SETTLED_S)
        self._invariants.before_the_last_stop()
        self._node.stop()
        self._node.start()
        self._invariants.at_the_end()
        self._node.stop()

    def close(self) -> None:
        """End whatever a violation left running."""
        self._node.hub.die()

    def _step_until(self, ends: float) -> None:
        check_at = self._clock.seconds() + CHECK_EVERY_S
        while self._clock.seconds() < ends:
            self._node.step(ends)
            self._invariants.after_a_step()
            if self._clock.seconds() >= check_at and self._node.is_up:
                self._invariants.live_state_is_the_fold()
                check_at += CHECK_EVERY_S

    # Faults.

    def _strike(self, fault: Fault) -> None:
        node, now = self._node, self._clock.seconds()
        self._tell(f"fault: {fault.kind} for {fault.lasts_s} s")
        disk = node.disk.faults
        match fault.kind:
            case "crash" | "power cut":
                node.crash(power_cut=fault.kind == "power cut", why="at any moment")
                node.start_after(fault.lasts_s)
            case "crash in the log" | "power cut in the log":
                after = 1 + int(fault.size * 12)
                node.crash_in_the_log(after, power_cut=fault.kind.startswith("power"))
            case "clean stop":
                node.stop()
                node.start_after(fault.lasts_s)
            case "stall":
                disk.stalled_s = fault.lasts_s
            case "write fails":
                disk.fail_next_write = True
            case "sync fails":
                disk.fail_next_sync = True
            case "full disk":
                disk.full = True
            case "short writes":
                disk.short_writes = True
            case "clock step":
                node.clock_offset += 26.0 * (fault.size - 0.4)
                # For half an hour, a first attempt that is lost cannot be inferred.
                self._invariants.troubles.append((now, inf))
            case "bad network":
                self._network.quality = 0.3
        if fault.kind not in ("short writes", "bad network", "clock step"):
            self._invariants.troubles.append((now, now + fault.lasts_s + AFTERMATH_S))
        self._clock.callLater(fault.lasts_s, self._repair)

    def _repair(self) -> None:
        disk = self._node.disk.faults
        disk.full = disk.short_writes = False
        disk.stalled_s = 0.0
        self._network.quality = 0.9


def _configurations(random: Random) -> Iterator[cfg.Config]:
    """Yield the configurations between which the operator changes."""
    keep = random.choice([None, None, 60.0])
    log = cfg.Log(snapshot_every=random.choice([7, 20, 60]), keep=keep)
    limits = cfg.Limits(
        messages_per_minute=random.choice([0, 0, 20]),
        questions_per_day=random.choice([0, 0, 8, 30]),
    )
    running = random.choice([0, 1, 2, 3])
    open_directly = random.random() < 0.4
    for ttl_s, timeouts in ((300.0, "auto"), (20.0, "auto"), (300.0, 0), (60.0, 4)):
        assistant = cfg.Assistant(
            base_url="http://model.test/v1",
            model="m-1",
            api_key=cfg.Secret("sk-secret"),
            max_running=running,
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
    """Yield a directory to create, in memory where possible."""
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
        if event.get("log_level") is LogLevel.critical or event.get("isError"):
            self.found.append(eventAsText(event, includeTimestamp=False))


def run(plan: Plan) -> Outcome:
    """Carry out a plan."""
    problems, clock = _Problems(), Clock()
    globalLogPublisher.addObserver(problems)
    try:
        with _directory() as root, seeded(plan.seed, lambda: WALL + clock.seconds()):
            story = Run(plan, root, clock)
            try:
                story.go()
            except Violation as violation:
                return Outcome(story.trace, str(violation))
            except Exception as error:  # noqa: BLE001 (whatever fails is found by this seed)
                return Outcome(story.trace, f"{type(error).__name__}: {error}")
            finally:
                story.close()
    finally:
        globalLogPublisher.removeObserver(problems)
    return Outcome(story.trace, problems.found[0] if problems.found else "")
