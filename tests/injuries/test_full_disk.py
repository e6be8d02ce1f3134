"""A full disk: a 12 MB file system that fills up while the daemon runs on it."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from tests.support.processes import Stage

pytestmark = pytest.mark.processes
FULL = "暂时无法接收新的问题"


@pytest.fixture
def small(tmp_path):
    """A stage whose state directory is on its own disk."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", str(directory)],
        capture_output=True,
        encoding="utf-8",
    )
    if mounted.returncode:
        pytest.skip(f"mounting needs root: {mounted.stderr.strip()}")
    stage = Stage(tmp_path)
    yield stage
    stage.end()
    subprocess.run(["umount", str(directory)], check=True)


def fill(stage: Stage) -> None:
    with (stage.state / "filler").open("wb", buffering=0) as filler:
        while True:
            try:
                filler.write(os.urandom(4096))
            except OSError:
                return


def test_a_full_disk_rejects_new_questions_and_recovers_automatically(small, report):
    small.start_model()
    small.start_daemon()
    small.send("/chatgpt")
    small.send("/chatgpt", "--user", "oLeaves")
    held = small.begin("send", "用 8 秒回答：为什么？", "-o", "json")
    deadline = time.monotonic() + 10
    while "QuestionAsked" not in small.wxgpt("tail", "-o", "ndjson").stdout:
        assert time.monotonic() < deadline
    fill(small)

    for _ in range(30):  # until the last page of the log is full as well
        reply = small.send("/chatgpt " + "长" * 600, "--user", "oOther")["reply"]
        if FULL in reply:
            break
    assert FULL in reply
    answered = json.loads(held.communicate(timeout=30)[0])
    assert "我是演示模型" in answered["reply"]
    assert json.loads(small.wxgpt("status", "-o", "json").stdout)["disk_full"] is True
    assert small.said().count("disk full: ") == 1
    # Users can be erased even without free space.
    assert small.wxgpt("forget", "oLeaves", "--yes").returncode == 0

    (small.state / "filler").unlink()
    began = time.monotonic()
    while FULL in (reply := small.send("/chatgpt", "--user", "oThird")["reply"]):
        assert time.monotonic() < began + 5, "it does not recover automatically"
    report(
        f"R10 a full disk: questions accepted {time.monotonic() - began:.1f} s after there is room"
    )
    assert "我是 AI 助手" in reply
    assert small.stop() == 0
    assert "disk no longer full" in small.said()
    assert small.wxgpt("log", "verify").returncode == 0


def test_startup_on_a_full_disk_waits_for_free_space(small):
    small.start_model()
    small.start_daemon()
    small.send("/chatgpt")
    small.kill()
    (small.state / "log" / "reserve").unlink()
    fill(small)
    small.start_daemon()
    assert FULL in small.send("为什么？")["reply"]
    (small.state / "filler").unlink()
    deadline = time.monotonic() + 5
    while FULL in (reply := small.send("为什么？")["reply"]):
        assert time.monotonic() < deadline, "it does not recover automatically"
    assert "我是演示模型" in reply
    assert small.stop() == 0
