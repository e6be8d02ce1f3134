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
    """Somebody else, who sends a command four times a second and notes how long each took."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._going = True
        self.waits: list[float] = []
        self.unanswered = 0
        self.unwell = 0
        self._threads = [threading.Thread(target=one) for one in (self._talk, self._look)]
        for thread in self._threads:
            thread.start()

    def _talk(self) -> None:
        number = 0
        while self._going:
            number += 1
            began = time.monotonic()
            try:
                answered = bool(self._stage.say("/help", f"bystander{number % 20}"))
            except OSError:
                answered = False
            self.waits.append(time.monotonic() - began)
            self.unanswered += not answered
            time.sleep(0.25)

    def _look(self) -> None:
        while self._going:
            self.unwell += self._stage.get("/healthz")[0] != 200
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
        self.stage.configure(self.model.base_url, extra=extra)
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
        bystander = Bystander(self.stage)
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
            f"{name}: {len(waits)} messages of others, {bystander.unanswered} unanswered, "
            f"p50 {waits[len(waits) // 2] * 1000:.0f} ms, longest {waits[-1] * 1000:.0f} ms, "
            f"memory {before:.0f} -> {after:.0f} MB"
        )
        assert bystander.unanswered == 0, self.stage.said()[-2_000:]
        assert bystander.unwell == 0, "/healthz was not 200"
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
