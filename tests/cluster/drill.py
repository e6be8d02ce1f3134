"""Kill, freeze and stop parts of a cluster while users ask: what do they notice, and what is lost?

    python -m tests.cluster.drill                    the drills of docs/cluster.md, as a table
    python -m tests.cluster.drill --seeds 20         random ones

Everything is real: two daemons, three NATS servers, and users who behave like WeChat at a web
server that chooses a node at random, and another one if that fails. A daemon that ends is started
again, as systemd does it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.cluster_stage import ClusterStage
from tests.support.processes import TOKEN, Stage
from tests.support.scripted_model import Answer, ScriptedModel
from wxgptd.ports.record import SYNC_BOUNDS_S
from wxgptd.wechat import envelope, signature

PATIENCE_S = 5.0
ATTEMPTS = 3
RESTART_AFTER_S = 1.0
MODEL_TAKES_S = 2.0
COMMAND_EVERY_S = 0.1
COMMAND_AGAIN_S = 1.0


class EchoModel(ScriptedModel):
    """A model that repeats the question after a while."""

    def __init__(self) -> None:
        super().__init__()
        self.delay_s = MODEL_TAKES_S

    def _next(self, question: str) -> Answer:
        return Answer().write(f"答：{question}。").end()


class Outcome(NamedTuple):
    """What the user of one question saw: `answer`, `link`, `busy`, `foreign` or `lost`."""

    question: str
    kind: str
    asked_at: float
    at: float


class Report(NamedTuple):
    """The result of a drill; `takeover_s` is how long no node led, 0 if one always did.

    `commits_s` is what 99 of 100 commits took at most since the node that leads was started.
    `gap_s` is the longest that a command waited: one after the other was sent all the time, and
    each waits for a commit.
    """

    outcomes: Sequence[Outcome]
    model_calls: Counter[str]
    takeover_s: float
    commits_s: float
    gap_s: float
    faults: Sequence[str]

    def count(self, kind: str) -> int:
        """Return how many questions had that outcome."""
        return sum(outcome.kind == kind for outcome in self.outcomes)


class Drill:
    """One cluster, its users, and what is done to it."""

    def __init__(
        self, directory: Path, seed: int, *, rate: float, seconds: float, extra: str = ""
    ) -> None:
        self.dice = random.Random(seed)
        self.stage = ClusterStage(directory, extra=extra, model=EchoModel())
        self._rate = rate
        self._seconds = seconds
        self._frozen: set[Stage] = set()
        self._outcomes: list[Outcome] = []
        self._gap_s = 0.0
        self._commands_s: list[float] = []

    # What is done to it.

    def leader(self) -> Stage:
        """Return the node that leads, or the first one."""
        nodes = [n for n in self.stage.nodes if n not in self._frozen]
        return next((n for n in nodes if n.get("/readyz")[0] == 200), self.stage.nodes[0])

    async def kill_leader(self) -> None:
        """Kill the daemon that leads."""
        await asyncio.to_thread(lambda: self.leader().kill())

    async def kill_standby(self) -> None:
        """Kill a daemon that does not lead."""
        leader = await asyncio.to_thread(self.leader)
        (standby, *_) = [node for node in self.stage.nodes if node is not leader]
        standby.kill()

    async def kill_servers_leader(self) -> None:
        """Kill the NATS server that leads the log, and start it again ten seconds later."""
        while (number := await asyncio.to_thread(self._nats_leader)) is None:
            await asyncio.sleep(0.5)
        self.stage.nats.kill(number)
        await asyncio.sleep(10)
        self.stage.nats.start(number)

    def _nats_leader(self) -> int | None:
        """Return the number of the NATS server that leads the log, or None if none does now."""
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.stage.nats_leader()
        return None

    async def kill_both(self) -> None:
        """Kill the daemon and the NATS server that lead."""
        await asyncio.gather(self.kill_servers_leader(), self.kill_leader())

    async def freeze_leader(self, seconds: float = 8.0) -> None:
        """Stop the daemon that leads, and let it go on later."""
        leader = await asyncio.to_thread(self.leader)
        self._frozen.add(leader)
        leader.daemon.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        leader.daemon.send_signal(signal.SIGCONT)
        self._frozen.discard(leader)

    async def cut_leader(self, seconds: float = 6.0) -> None:
        """Cut the node that leads off from the servers."""
        leader = await asyncio.to_thread(self.leader)
        way = self.stage.ways[self.stage.nodes.index(leader)]
        way.cut()
        await asyncio.sleep(seconds)
        way.heal()

    async def freeze_server(self) -> None:
        """Stop a NATS server for a few seconds."""
        number = self.dice.randrange(3)
        self.stage.nats.signal(number, signal.SIGSTOP)
        await asyncio.sleep(self.dice.uniform(1, 8))
        self.stage.nats.signal(number, signal.SIGCONT)

    async def terminate_leader(self) -> None:
        """Stop the daemon that leads, as `systemctl restart` does."""
        leader = await asyncio.to_thread(self.leader)
        leader.daemon.send_signal(signal.SIGTERM)

    async def step_down(self) -> None:
        """Let the node that leads hand over."""
        leader = await asyncio.to_thread(self.leader)
        await asyncio.to_thread(leader.wxgpt, "cluster", "step-down")

    async def nothing(self) -> None:
        """Do nothing, to compare."""

    # Running it.

    async def run(self, *steps: tuple[float, Callable[[], Awaitable[None]]]) -> Report:
        """Ask for as long as intended, and do each of the `steps` at its time (s)."""
        stage = self.stage
        await asyncio.to_thread(stage.start)
        users = int(self._rate * 20) + 10
        await asyncio.gather(*(self._exchange(f"user{n}", "/chatgpt", n) for n in range(users)))
        works = (self._supervise, self._watch, self._command)
        supervising = [asyncio.create_task(work()) for work in works]
        try:
            doing = [asyncio.create_task(_later(*step)) for step in steps]
            asking = [
                asyncio.create_task(self._ask(f"user{n % users}", n))
                for n in range(int(self._rate * self._seconds))
            ]
            await asyncio.gather(*asking, *doing)
            await self._settle()
        finally:
            for task in supervising:
                task.cancel()
        calls = Counter(stage.model.asked)
        faults = list(await asyncio.to_thread(self._faults))
        commits_s = await asyncio.to_thread(self._commits_s)
        return Report(self._outcomes, calls, self._gap_s, commits_s, max(self._commands_s), faults)

    def _commits_s(self) -> float:
        """Return the 99th percentile of the commits, as Prometheus's `histogram_quantile` does."""
        figures = json.loads(self.leader().wxgpt("status", "--json").stdout)["cluster_commit_s"]
        rank, below, lower = 0.99 * figures["commits"], 0, 0.0
        for bound, count in zip((*SYNC_BOUNDS_S, math.inf), figures["buckets"], strict=True):
            if below + count >= rank:
                return lower + (bound - lower) * (rank - below) / count
            below, lower = below + count, bound
        return math.inf

    async def _supervise(self) -> None:
        """Start a daemon again that has ended."""
        ended: dict[Stage, float] = {}
        while True:
            for node in self.stage.nodes:
                if node.daemon is None or node.daemon.poll() is None:
                    continue
                now = time.monotonic()
                if now - ended.setdefault(node, now) > RESTART_AFTER_S:
                    del ended[node]
                    node.start_daemon(ready=False)
            await asyncio.sleep(0.1)

    async def _watch(self) -> None:
        """Measure how long no node leads."""
        led_at = time.monotonic()
        while True:
            ready = await asyncio.gather(*(self._is_ready(node) for node in self.stage.nodes))
            now = time.monotonic()
            if any(ready):
                led_at = now
            else:
                self._gap_s = max(self._gap_s, now - led_at)
            await asyncio.sleep(0.02)

    async def _command(self) -> None:
        """Send commands, one after the other, and measure how long each waits for its commit."""
        numbers = itertools.count(20_000)
        while True:
            began, reply = time.monotonic(), ""
            while not reply:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(COMMAND_AGAIN_S):
                        reply = await self._exchange("commander", "/chatgpt", next(numbers))
                await asyncio.sleep(0 if reply else 0.05)
            self._commands_s.append(time.monotonic() - began)
            await asyncio.sleep(COMMAND_EVERY_S)

    async def _is_ready(self, node: Stage) -> bool:
        if node in self._frozen:
            return False
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.5):
                request = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                return b" 200 " in (await _sent(node.port, request))[:20]
        return False

    async def _settle(self) -> None:
        def settled() -> bool:
            roles = [self.stage.summary(node) for node in self.stage.nodes]
            kinds = sorted(role["role"] for role in roles)
            return kinds == ["following", "leading"] and not any(role["lag"] for role in roles)

        await asyncio.to_thread(self.stage.until, settled, 60.0)

    # The users.

    async def _ask(self, user: str, number: int) -> None:
        await asyncio.sleep(number / self._rate)
        question = f"问题{number}号"
        asked_at, sent_at = time.monotonic(), int(time.time())
        kind, history = "lost", []
        for attempt in range(ATTEMPTS):
            began = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    reply = await self._exchange(user, question, 10_000 + number, sent_at)
                    history.append((round(began - asked_at, 2), reply))
                    if reply:
                        kind = _kind(reply, question)
                        break
            if attempt < ATTEMPTS - 1:
                await asyncio.sleep(max(0.0, began + PATIENCE_S - time.monotonic()))
        if kind not in ("answer", "link") and "-v" in sys.argv:
            print(f"    {question}: {kind}: {history}", file=sys.stderr)
        self._outcomes.append(Outcome(question, kind, asked_at, time.monotonic()))

    async def _exchange(self, user: str, text: str, number: int, sent_at: int = 0) -> str:
        """Deliver a message once, as a web server does that chooses among the nodes."""
        timestamp, nonce = str(int(time.time())), str(number)
        signed = signature.sign(TOKEN, timestamp, nonce)
        xml = (
            f"<xml><ToUserName>gh_x</ToUserName><FromUserName>{user}</FromUserName>"
            f"<CreateTime>{sent_at or timestamp}</CreateTime><MsgType>text</MsgType>"
            f"<Content>{text}</Content><MsgId>{7_000_000_000 + number}</MsgId></xml>"
        ).encode()
        head = (
            f"POST /wx/main?signature={signed}&timestamp={timestamp}&nonce={nonce} HTTP/1.1\r\n"
            f"Host: x\r\nContent-Type: text/xml\r\nContent-Length: {len(xml)}\r\n"
            "Connection: close\r\n\r\n"
        ).encode()
        for node in self.dice.sample(self.stage.nodes, len(self.stage.nodes)):
            with contextlib.suppress(OSError):
                response = await _sent(node.port, head + xml)
                body = response.partition(b"\r\n\r\n")[2]
                if response.startswith(b"HTTP/1.1 200"):
                    return "" if body == b"success" else envelope.parse(body)["Content"]
        return ""

    # What must hold.

    def _faults(self) -> list[str]:
        """Return what was lost, doubled or mixed up."""
        stage = self.stage
        faults = []
        for _ in range(10):
            logs = [stage.events(node) for node in stage.nodes]
            if all(log == logs[0] for log in logs):
                break
            time.sleep(0.5)
        else:
            pairs = zip(*logs, strict=False)
            first = next((p for p in pairs if p[0] != p[1]), f"lengths {[*map(len, logs)]}")
            faults.append(f"the nodes' logs differ: {first}")
        asked = Counter(e["text"] for e in logs[0] if e["type"] == "QuestionAsked")
        answered = Counter(
            e["text"].removeprefix("答：").removesuffix("。")
            for e in logs[0]
            if e["type"] == "AnswerCompleted"
        )
        faults += [f"{text} was recorded {n} times" for text, n in asked.items() if n > 1]
        for outcome in self._outcomes:
            if outcome.kind == "foreign":
                faults.append(f"{outcome.question} got another answer")
            elif outcome.kind == "answer" and not answered[outcome.question]:
                faults.append(f"the answer to {outcome.question} was sent and is not in the log")
            elif outcome.kind == "link" and not asked[outcome.question]:
                faults.append(f"{outcome.question} got a link and is not in the log")
        for node in stage.nodes:
            if "Traceback" in node.said():
                faults.append(f"a traceback in {node.log}")
        return faults


def _kind(reply: str, question: str) -> str:
    if "答：" in reply:
        return "answer" if f"答：{question}。" in reply else "foreign"
    return "link" if "/a/" in reply else "busy"


async def _later(after_s: float, act: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(after_s)
    await act()


async def _sent(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


def random_steps(drill: Drill) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
    """Return two to four random steps within the first fifteen seconds."""
    acts = (
        drill.kill_leader, drill.kill_standby, drill.kill_servers_leader, drill.freeze_leader,
        drill.freeze_server, drill.terminate_leader, drill.step_down, drill.cut_leader,
    )  # fmt: skip
    count = drill.dice.randint(2, 4)
    return [(drill.dice.uniform(0, 15), drill.dice.choice(acts)) for _ in range(count)]


def run_seed(seed: int, directory: Path, *, rate: float = 10.0) -> Report:
    """Run a random drill."""
    drill = Drill(directory, seed, rate=rate, seconds=20.0)
    try:
        return asyncio.run(drill.run(*random_steps(drill)))
    finally:
        drill.stage.end()


FAST = 'dead_after = "1s"\n'
ENOUGH = "\n[window]\ndeliberate_timeouts_per_5min = 1000\n"
"""A budget of deliberate timeouts that has grown to the size that these users need."""

MATRIX: Sequence[tuple[str, str, str]] = (
    ("nothing", "nothing", ""),
    ("kill -9 the leader", "kill_leader", ""),
    ("  with enough timeouts", "kill_leader", ENOUGH),
    ("  and dead_after 1 s", "kill_leader", FAST + ENOUGH),
    ("kill the NATS leader", "kill_servers_leader", ENOUGH),
    ("both at once", "kill_both", ENOUGH),
    ("SIGSTOP the leader for 8 s", "freeze_leader", ENOUGH),
    ("cut the leader off for 6 s", "cut_leader", ENOUGH),
    ("SIGTERM the leader", "terminate_leader", ENOUGH),
    ("wxgpt cluster step-down", "step_down", ENOUGH),
)


def row(label: str, report: Report) -> str:
    """Return a line of the table."""
    outcomes, calls = report.outcomes, sum(report.model_calls.values())
    again = sum(n - 1 for n in report.model_calls.values())
    waits = sorted(o.at - o.asked_at for o in outcomes if o.kind == "answer")
    p99 = waits[int(len(waits) * 0.99)] if waits else 0.0
    cells = [f"{label:<28}", f"{len(outcomes):>5}", f"{report.count('answer'):>8}"]
    cells += [f"{report.count(kind):>5}" for kind in ("link", "busy", "lost", "foreign")]
    cells += [f"{calls:>6}", f"{again:>6}", f"{report.takeover_s:>11.2f}", f"{p99:>6.1f}"]
    cells += [f"{report.commits_s * 1000:>13.0f}", f"{report.gap_s:>12.2f}"]
    return " | ".join([*cells, f"{len(report.faults):>6}"])


HEAD = " | ".join(
    [f"{'drill':<28}", "asked", "answered", " link", " busy", " lost", "foreign", " calls",
     "again", "no leader s", "p99 s", "commit p99 ms", "no commit s", "faults"]
)  # fmt: skip


def main() -> int:
    """Run the drills and print a table; return 1 if anything was lost, doubled or mixed up."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--only", default="")
    parser.add_argument("-v", action="store_true", help="show what else users saw")
    options = parser.parse_args()
    failed = False
    print(HEAD, flush=True)
    runs: list[tuple[str, Callable[[Path], Report]]] = [
        (f"seed {seed}", lambda directory, seed=seed: run_seed(seed, directory, rate=options.rate))
        for seed in range(options.first, options.first + options.seeds)
    ]

    def fixed(name: str, extra: str) -> Callable[[Path], Report]:
        def run(directory: Path) -> Report:
            drill = Drill(directory, 0, rate=options.rate, seconds=options.seconds, extra=extra)
            try:
                return asyncio.run(drill.run((options.seconds / 2, getattr(drill, name))))
            finally:
                drill.stage.end()

        return run

    if not options.seeds:
        runs = [(label, fixed(name, extra)) for label, name, extra in MATRIX]
    for label, run in runs:
        if options.only and options.only not in label:
            continue
        with tempfile.TemporaryDirectory(prefix="wxgptd-drill-") as directory:
            report = run(Path(directory))
        print(row(label, report), flush=True)
        for fault in report.faults:
            failed = True
            print(f"    {fault}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
