"""A daemon under attack, while other users keep writing to it.

The measure is how long the other users wait. `make siege` attacks for longer.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import Stage
from tests.support.scripted_model import ScriptedModel

LONG = "WXGPTD_SIEGE" in os.environ
SECONDS = float(os.environ.get("WXGPTD_SIEGE", "6"))
"""How long each attack lasts."""

MAX_WAIT_S = 1.0
"""The maximum time that another user may wait for a reply during an attack."""


class Bystander:
    """Other users, who send up to four messages a second and record how long each reply takes.

    Every second message is a command; the others are questions if `asks` is true.
    """

    USERS = 4
    ANSWER = "没有准备。"
    """The model's answer to a question that no test has prepared."""

    def __init__(self, stage: Stage, *, asks: bool) -> None:
        self._stage = stage
        self._asks = asks
        if asks:
            for number in range(self.USERS):
                stage.say("/chatgpt", f"bystander{number}")
        self._running = True
        self.waits: list[float] = []
        self.unanswered: list[str] = []
        self.unhealthy: list[object] = []
        self._threads = [
            threading.Thread(target=target) for target in (self._talk, self._check_health)
        ]
        for thread in self._threads:
            thread.start()

    def _talk(self) -> None:
        number = 0
        while self._running:
            number += 1
            user = f"bystander{number // 2 % self.USERS}"
            began = time.monotonic()
            try:
                if self._asks and number % 2:
                    reply = self._stage.say("你在吗？", user)
                    answered = reply == self.ANSWER
                else:
                    reply = self._stage.say("/help", user)
                    answered = bool(reply)
            except OSError as error:
                reply, answered = repr(error), False
            self.waits.append(time.monotonic() - began)
            if not answered:
                self.unanswered.append(reply)
            time.sleep(0.25)

    def _check_health(self) -> None:
        while self._running:
            try:
                response = self._stage.get("/healthz")
            except OSError as error:
                self.unhealthy.append(repr(error))
            else:
                self.unhealthy += [] if response[0] == 200 else [response]
            time.sleep(0.5)

    def stop(self) -> None:
        self._running = False
        for thread in self._threads:
            thread.join()


class Siege:
    """A daemon, its model, and the attacks on them."""

    def __init__(self, directory: Path, report: Callable[[str], None]) -> None:
        self.stage = Stage(directory)
        self.model = ScriptedModel()
        self._report = report

    def start(self, extra: str = "", server: str = "", **more) -> None:
        unlabelled = '\n[texts]\nai_label = ""\n'
        self.stage.configure(self.model.base_url, extra=extra + unlabelled)
        for line in server.splitlines():
            self.stage.configure_server(line)
        self.stage.start_daemon(**more)

    def ask(self, question: str, answer: str, user: str = "mallory") -> str:
        """Ask a question that the model answers with `answer`; return the reply."""
        self.model.expect(question).write(answer).end()
        return self.stage.say(question, user)

    def memory_mb(self) -> float:
        """Return the daemon's resident memory."""
        assert self.stage.daemon is not None
        status = Path(f"/proc/{self.stage.daemon.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @contextmanager
    def under(
        self, name: str, *attacks: Callable[[Callable[[], bool]], None]
    ) -> Iterator[Bystander]:
        """Attack while the block runs, then check how long other users had to wait."""
        running = threading.Event()
        running.set()
        threads = [threading.Thread(target=attack, args=(running.is_set,)) for attack in attacks]
        before = self.memory_mb()
        bystander = Bystander(self.stage, asks=not self.model.delay_s)
        for thread in threads:
            thread.start()
        try:
            yield bystander
            after = self.memory_mb()
        finally:
            running.clear()
            for thread in threads:
                thread.join()
            bystander.stop()
        waits_s = sorted(bystander.waits)
        self._report(
            f"{name}: {len(waits_s)} messages from others, {len(bystander.unanswered)} unanswered, "
            f"p50 {waits_s[len(waits_s) // 2] * 1000:.0f} ms, longest {waits_s[-1] * 1000:.0f} ms, "
            f"memory {before:.0f} -> {after:.0f} MB"
        )
        assert bystander.unanswered == [], self.stage.said()[-2_000:]
        assert bystander.unhealthy == [], "/healthz was not 200"
        assert waits_s[-1] < MAX_WAIT_S, waits_s

    def end(self) -> None:
        self.model.close()
        self.stage.end()


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], None]]:
    """Collect measurements; `make siege` prints them."""
    lines: list[str] = []
    yield lines.append
    if LONG:
        with capsys.disabled():
            for line in lines:
                print(f"\n{line}", flush=True)


@pytest.fixture
def siege(tmp_path: Path, report: Callable[[str], None]) -> Iterator[Siege]:
    siege = Siege(tmp_path, report)
    yield siege
    siege.end()


def many(attack: Callable[..., None], count: int, *arguments: object) -> list[Callable]:
    """Return `count` copies of an attack, to run at once."""
    return [partial(attack, *arguments)] * count
