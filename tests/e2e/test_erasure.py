"""Erasure, checked on disk: no file contains anything about an erased user."""

from __future__ import annotations

import json

import pytest

from tests.support.injuries import append, injure
from wxgptd.eventlog import segments

pytestmark = pytest.mark.processes

LEAVER, FORGOTTEN, REMAINING = "oLeaver7Qx4", "oForgotten9Zw", "oStays3Kd"
QUESTION = "我的秘密是蓝莓果酱"


@pytest.fixture
def running(stage):
    stage.start_model()
    # Produce files of every kind: snapshots and more than one segment.
    stage.configure_log('snapshot_every = 5\nsegment_size = "4KiB"')
    stage.start_daemon()
    for user in (LEAVER, FORGOTTEN, REMAINING):
        stage.send("/chatgpt", "--user", user)
        stage.send(f"{QUESTION}，{user}", "--user", user)
        stage.send("/history", "--user", user)
    # A torn tail left by a crash is stored beside the log and may hold user data.
    stage.kill()
    injure(segments.list_segments(stage.state / "log")[-1], append(b"WXFR\0\0\0\x40 torn"))
    stage.start_daemon()
    stage.send("/help", "--user", LEAVER)
    return stage


def files_with(stage, *texts: str) -> list[str]:
    names = []
    for path in stage.state.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            names += [path.name for text in texts if text.encode() in data]
    return names


def test_no_file_contains_anything_about_erased_users(running):
    stage = running
    assert list((stage.state / "log").glob("*.broken"))
    torn = stage.wxgpt("tail", "--kind", "TailTrimmed", "-o", "ndjson").stdout
    assert json.loads(torn)["size"] == 13
    assert segments.list_snapshots(stage.state / "log")
    # Nothing was ever stored in plain text.
    assert files_with(stage, LEAVER, FORGOTTEN, REMAINING, QUESTION) == []
    keys = {user: key_of(stage, user) for user in (LEAVER, FORGOTTEN, REMAINING)}

    assert stage.wxgpt("send", "--event", "unsubscribe", "--user", LEAVER).returncode == 0
    forgotten = stage.wxgpt("forget", FORGOTTEN, "--yes")
    assert forgotten.returncode == 0, forgotten.stderr
    assert "erased" in forgotten.stdout
    assert stage.wxgpt("forget", FORGOTTEN, "--yes").returncode == 1
    assert "--yes" in stage.wxgpt("forget", REMAINING).stderr

    for stopped in (False, True):
        if stopped:
            assert stage.stop() == 0
        # Nothing can be decrypted either, in the log or in a snapshot: the keys are deleted.
        assert [key_of(stage, user) is None for user in keys] == [True, True, False]
        assert files_with(stage, LEAVER, FORGOTTEN, REMAINING, QUESTION) == []
        output = stage.wxgpt("tail", "-n", "1000", "-o", "ndjson").stdout
        assert LEAVER not in output
        assert FORGOTTEN not in output
        assert f"{QUESTION}，{REMAINING}" in output
        events = [json.loads(line) for line in output.splitlines()]
        erased = [event for event in events if event.get("hidden") == "erased"]
        assert {event["type"] for event in erased} >= {
            "QuestionAsked",
            "AnswerCompleted",
            "UserErased",
        }
        assert all(event["text"] is None for event in erased if event["type"] == "QuestionAsked")
        for command in (("replay",), ("replay", "--as-conversation"), ("log", "export")):
            done = stage.wxgpt(*command)
            assert done.returncode == 0, done.stderr
            assert REMAINING in done.stdout
            assert LEAVER not in done.stdout
            assert FORGOTTEN not in done.stdout
        assert stage.wxgpt("log", "verify").returncode == 0

    stage.start_daemon()
    assert stage.send("继续", "--user", LEAVER)["reply"] is None
    assert "我是 AI 助手" in stage.send("/chatgpt", "--user", LEAVER)["reply"]
    assert LEAVER not in stage.said()
    assert QUESTION not in stage.said()


def key_of(stage, openid: str) -> str | None:
    """Return a user's reference in the log, or None."""
    from wxgptd.domain.model.values import User
    from wxgptd.eventlog import keyring, master_key

    keys = keyring.Keyring(segments.keyring_path(stage.state), master_key.own_master(stage.state))
    key = keys.of(User("main", openid))
    return key.reference if key is not None else None


def test_events_are_shown_without_their_users_if_the_master_key_is_missing(running):
    stage = running
    stage.stop()
    (stage.state / "keys" / "master").rename(stage.directory / "elsewhere")
    tail = stage.wxgpt("tail")
    assert tail.returncode == 0
    assert "not shown" in tail.stderr
    assert REMAINING not in tail.stdout
    assert "[sealed]" in tail.stdout
    assert stage.wxgpt("log", "stat").returncode == 0
    assert stage.wxgpt("log", "verify").returncode == 0
    assert stage.wxgpt("log", "export").returncode == 4
    assert stage.wxgpt("backup", str(stage.directory / "b")).returncode == 4


def test_vacuum_drops_segments_beyond_the_maximum_size(stage):
    stage.start_model()
    stage.configure_log('segment_size = "4KiB"\nmax_size = "8KiB"')
    stage.start_daemon()
    stage.send("/chatgpt")
    for _ in range(4):
        stage.send("很长的问题" * 250)
    last = json.loads(stage.wxgpt("status", "--json").stdout)["log_last_seq"]
    before = len(segments.list_segments(stage.state / "log"))
    report = json.loads(stage.wxgpt("log", "vacuum", "--json").stdout)
    assert report["snapshot"] == last
    assert report["dropped_segments"] > 0
    assert report["left_bytes"] < 12 * 1024  # the newest segment stays, however large
    assert len(segments.list_segments(stage.state / "log")) == before - report["dropped_segments"]
    assert f"snapshot at event {last}" in stage.wxgpt("log", "vacuum").stdout
    # The rest is shown, dropped events are reported, and the state is complete.
    assert stage.wxgpt("log", "verify").returncode == 0
    assert f"after event {last}" in stage.wxgpt("replay").stdout
    early = stage.wxgpt("replay", "--until", "1")
    assert early.returncode == 2
    assert f"history begins after event {last}" in early.stderr
    stage.stop()
    stage.start_daemon()
    assert f"after event {last}" in stage.wxgpt("replay").stdout
    assert stage.wxgpt("backup", str(stage.directory / "b")).returncode == 0
