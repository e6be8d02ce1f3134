"""A second state directory follows a running daemon's log over a pipe, and takes over."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from tests.support.processes import Stage

pytestmark = pytest.mark.processes


@pytest.fixture
def standby(tmp_path):
    directory = tmp_path / "standby"
    directory.mkdir()
    stage = Stage(directory)
    yield stage
    stage.end()


def follow(main: Stage, standby: Stage) -> tuple[subprocess.Popen, subprocess.Popen]:
    """Begin to ship the log from where the standby is."""
    position = standby.wxgpt("log", "receive", str(standby.state), "--position").stdout.strip()
    shipping = subprocess.Popen(
        main.command("log", "ship", "--after", position), stdout=subprocess.PIPE
    )
    receiving = subprocess.Popen(
        standby.command("log", "receive", str(standby.state)),
        stdin=shipping.stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    shipping.stdout.close()
    return shipping, receiving


def wait_until_level(main: Stage, standby: Stage) -> None:
    for _ in range(200):
        wanted = json.loads(main.wxgpt("status", "--json").stdout)["log_last_seq"]
        got = standby.wxgpt("log", "receive", str(standby.state), "--position").stdout
        if int(got.split(".")[0]) == wanted:
            return
        time.sleep(0.1)
    raise AssertionError("the standby did not catch up")


def test_a_standby_follows_and_takes_over(stage, standby, tmp_path):
    stage.start_model()
    standby.config.write_text(
        stage.config.read_text("utf-8")
        .replace(str(stage.state), str(standby.state))
        .replace(f":{stage.port}", f":{standby.port}"),
        encoding="utf-8",
    )
    stage.start_daemon()
    stage.send("/chatgpt")
    stage.send("第一个问题")
    archive = str(tmp_path / "log.tar.gz")
    assert stage.wxgpt("backup", archive).returncode == 0
    restored = standby.wxgpt("restore", archive)
    assert restored.returncode == 0, restored.stderr
    shipping, receiving = follow(stage, standby)
    try:
        stage.send("第二个问题")
        stage.send("/chatgpt", "--user", "newcomer")
        stage.send("新用户的问题", "--user", "newcomer")
        wait_until_level(stage, standby)
        status = json.loads(stage.wxgpt("status", "--json").stdout)
        assert status["log_shipped_behind"] is not None
        # A break in the pipe: it goes on from there.
        receiving.kill()
        receiving.communicate()
        assert shipping.wait(20) != 0
        stage.send("第三个问题")
        shipping, receiving = follow(stage, standby)
        wait_until_level(stage, standby)
        assert stage.wxgpt("forget", "newcomer", "--yes").returncode == 0
        wait_until_level(stage, standby)
        # While it follows, no daemon can use the directory.
        standby.start_daemon(ready=False)
        assert standby.daemon.wait(20) == 1
        assert "is using" in standby.said()
    finally:
        shipping.send_signal(signal.SIGINT)
        shipping.wait(20)
        _, said = receiving.communicate(timeout=20)
    assert receiving.returncode == 0, said
    assert "has ended at event" in said
    stage.kill()
    standby.start_daemon()
    listed = standby.wxgpt("tail", "-n", "100").stdout
    for question in ("第一个问题", "第二个问题", "第三个问题"):
        assert question in listed
    assert "新用户的问题" not in listed
    assert standby.send("还记得吗？")["reply"], "the session goes on"
    assert standby.wxgpt("log", "verify").returncode == 0


REFUSED = {
    "a terminal's junk": (b"hello\n" * 40, "not a stream of events"),
    "nothing": (b"", "has ended at event"),
}


@pytest.mark.parametrize(("data", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_stream_is_refused_in_a_sentence(stage, data, said):
    stage.start_model()
    stage.start_daemon()
    stage.send("/chatgpt")
    stage.stop()
    received = subprocess.run(
        stage.command("log", "receive", str(stage.state)), input=data, capture_output=True
    )
    assert said in received.stderr.decode()
    assert b"Traceback" not in received.stderr
    assert received.returncode == (1 if b"hello" in data else 0)


def test_a_directory_without_keys_is_refused(stage, tmp_path):
    received = stage.wxgpt("log", "receive", str(tmp_path / "nothing"))
    assert received.returncode == 4
    assert "wxgpt restore" in received.stderr


def test_a_position_that_is_none_is_refused(stage):
    shipped = stage.wxgpt("log", "ship", "--after", "yesterday")
    assert shipped.returncode == 2
    assert "is not a position" in shipped.stderr
