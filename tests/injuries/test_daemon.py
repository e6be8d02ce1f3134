"""The daemon while its disk stalls or fails, and when the wall clock is set."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import injected
from tests.support.processes import Stage

pytestmark = pytest.mark.processes

STALL_S = 5.0


@pytest.fixture
def stage(tmp_path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.end()


class LagMonitor:
    """Polls the health endpoint of the daemon; `gaps` are its response times."""

    def __init__(self, stage: Stage) -> None:
        self._url = f"http://127.0.0.1:{stage.port}/healthz"
        self._running = True
        self.gaps: list[float] = []
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def _poll(self) -> None:
        while self._running:
            began = time.monotonic()
            with urllib.request.urlopen(self._url, timeout=30) as response:
                response.read()
            self.gaps.append(time.monotonic() - began)
            time.sleep(0.01)

    def stop(self) -> None:
        self._running = False
        self._thread.join()


def test_the_daemon_stays_responsive_but_acknowledges_nothing_while_a_sync_stalls(stage, report):
    trigger = stage.directory / "trigger"
    environ = injected.environment(
        stage.state, "slow", "1", calls="fdatasync", slow=str(int(STALL_S * 1000)),
        while_=str(trigger),
    )  # fmt: skip
    stage.start_daemon(environ=environ)
    assert stage.send("/help")["reply"], "the disk does not stall yet"
    trigger.touch()
    monitor, began = LagMonitor(stage), time.monotonic()
    # The first attempt gets no response until it is recorded, so WeChat retries.
    reply = stage.send("/help")["reply"]
    took = time.monotonic() - began
    monitor.stop()
    assert reply
    assert took >= STALL_S, "acknowledged before it was on disk"
    assert len(monitor.gaps) > 50, "the daemon was unresponsive"
    report(f"R12 a sync stalled for {STALL_S:.0f} s: longest gap {max(monitor.gaps) * 1000:.0f} ms")


@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_the_daemon_exits_with_75_when_the_disk_fails(stage, report, call):
    trigger = stage.directory / "trigger"
    environ = injected.environment(stage.state, "eio", "1+", calls=call, while_=str(trigger))
    stage.start_daemon(environ=environ)
    assert stage.send("/help")["reply"]
    trigger.touch()
    sending = stage.begin("send", "/help")
    began = time.monotonic()
    status = stage.daemon.wait(20)
    took = time.monotonic() - began
    sending.kill()
    sending.communicate()
    assert status == 75
    assert "Input/output error" in stage.said()
    assert "Traceback" not in stage.said()
    trigger.unlink()
    stage.start_daemon()
    assert stage.send("/help")["reply"]
    report(f"R5 a failed {call} ended the daemon with 75 within {took:.1f} s of a message's start")


def faketime() -> str:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    return str(library)


@pytest.mark.alone
@pytest.mark.parametrize("step", ["+1h", "-30s"])
def test_a_wall_clock_step_affects_no_timer(stage, report, step):
    offset = stage.directory / "offset"
    offset.write_text("+0s\n")
    stage.start_model()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")} | {
        "LD_PRELOAD": faketime(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    stage.configure_server('timestamp_tolerance = "0s"')
    stage.start_daemon(environ=environ)
    assert "我是 AI 助手" in stage.send("/chatgpt")["reply"]
    asking = stage.begin("send", "用 6 秒回答：为什么？", "-o", "json")
    began = time.monotonic()
    time.sleep(2.0)
    offset.write_text(f"{step}\n")
    output, _ = asking.communicate(timeout=60)
    took = time.monotonic() - began
    assert "我是演示模型" in output
    assert 6.0 <= took < 9.5, "a timer followed the wall clock"
    stage.get("/wx/main")  # logs a line with the wall clock time
    assert stepped(stage, step), "the clock was never set, so the test proves nothing"
    # The session is still open: five minutes have not passed.
    assert stage.send("/stop")["reply"].startswith("对话已结束")
    report(f"R11 a clock set by {step}: an answer that takes 6 s came after {took:.1f} s")


def stepped(stage: Stage, step: str) -> bool:
    """Return whether the timestamps in the daemon's log jump."""
    from datetime import datetime

    stamps = [
        datetime.fromisoformat(line.split(" ")[0][:19]).timestamp()
        for line in stage.said().splitlines()
        if line[:4].isdigit()
    ]
    jumps = [later - earlier for earlier, later in pairwise(stamps)]
    return max(jumps) > 3_000 if step == "+1h" else min(jumps) < -20
