"""A daemon under attack, and other people who go on writing to it.

What counts is how long those other people wait. `make siege` goes on for longer.
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

MOST_S = 1.0
"""How long another person may wait for a reply to what needs no model, while an attack goes on."""


class Bystander:
    """Other people, who send four messages a second and note how long each reply took.

    Every second message is a command; if they are to ask, the others are questions.
    """

    PEOPLE = 4
    ANSWER = "没有准备。"
    """What the model says to a question that no test has prepared."""

    def __init__(self, stage: Stage, *, asks: bool) -> None:
        self._stage = stage
        self._asks = asks
        if asks:
            for number in range(self.PEOPLE):
                stage.say("/chatgpt", f"bystander{number}")
        self._going = True
        self.waits: list[float] = []
        self.unanswered: list[str] = []
        self.unwell: list[object] = []
        self._threads = [threading.Thread(target=one) for one in (self._talk, self._look)]
        for thread in self._threads:
            thread.start()

    def _talk(self) -> None:
        number = 0
        while self._going:
            number += 1
            user = f"bystander{number // 2 % self.PEOPLE}"
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

    def _look(self) -> None:
        while self._going:
            try:
                well = self._stage.get("/healthz")
            except OSError as error:
                self.unwell.append(repr(error))
            else:
                self.unwell += [] if well[0] == 200 else [well]
            time.sleep(0.5)

    def stop(self) -> None:
        self._going = False
        for thread in self._threads:
            thread.join()


class Siege:
    """The daemon, what a follower has there, and the attacks."""

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
        """Have a question answered; return the reply."""
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
        """Attack while the block runs; then judge by how long others had to wait."""
        going = threading.Event()
        going.set()
        threads = [threading.Thread(target=attack, args=(going.is_set,)) for attack in attacks]
        before = self.memory_mb()
        bystander = Bystander(self.stage, asks=not self.model.delay_s)
        for thread in threads:
            thread.start()
        try:
            yield bystander
            after = self.memory_mb()
        finally:
            going.clear()
            for thread in threads:
                thread.join()
            bystander.stop()
        waits = sorted(bystander.waits)
        self._report(
            f"{name}: {len(waits)} messages of others, {len(bystander.unanswered)} unanswered, "
            f"p50 {waits[len(waits) // 2] * 1000:.0f} ms, longest {waits[-1] * 1000:.0f} ms, "
            f"memory {before:.0f} -> {after:.0f} MB"
        )
        assert bystander.unanswered == [], self.stage.said()[-2_000:]
        assert bystander.unwell == [], "/healthz was not 200"
        assert waits[-1] < MOST_S, waits

    def end(self) -> None:
        self.model.close()
        self.stage.end()


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], None]]:
    """Say what was measured; with `make siege` it is printed."""
    said: list[str] = []
    yield said.append
    if LONG:
        with capsys.disabled():
            for line in said:
                print(f"\n{line}", flush=True)


@pytest.fixture
def siege(tmp_path: Path, report: Callable[[str], None]) -> Iterator[Siege]:
    made = Siege(tmp_path, report)
    yield made
    made.end()


def many(attack: Callable[..., None], count: int, *arguments: object) -> list[Callable]:
    """Return `count` of an attack, to run at once."""
    return [partial(attack, *arguments)] * count
