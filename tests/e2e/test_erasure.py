"""Erasure, by the files that are left: of who was erased there is nothing in any of them."""

from __future__ import annotations

import json

import pytest

from tests.support.injuries import append, injure
from wxgptd.eventlog import segments

pytestmark = pytest.mark.processes

LEAVER, FORGOTTEN, STAYS = "oLeaver7Qx4", "oForgotten9Zw", "oStays3Kd"
QUESTION = "我的秘密是蓝莓果酱"


@pytest.fixture
def running(stage):
    stage.start_model()
    # Everything there is: snapshots and more than one segment.
    stage.configure_log('snapshot_every = 5\nsegment_size = "4KiB"')
    stage.start_daemon()
    for user in (LEAVER, FORGOTTEN, STAYS):
        stage.send("/chatgpt", "--user", user)
        stage.send(f"{QUESTION}，{user}", "--user", user)
        stage.send("/history", "--user", user)
    # What a crash leaves is kept beside the log, and was a user's, too.
    stage.kill()
    injure(segments.list_segments(stage.state / "log")[-1], append(b"WXFR\0\0\0\x40 torn"))
    stage.start_daemon()
    stage.send("/help", "--user", LEAVER)
    return stage


def files_with(stage, *texts: str) -> list[str]:
    found = []
    for path in stage.state.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found += [path.name for text in texts if text.encode() in data]
    return found


def test_of_who_left_and_who_was_forgotten_no_file_has_anything(running):
    stage = running
    assert list((stage.state / "log").glob("*.broken"))
    torn = stage.wxgpt("tail", "--kind", "TailTrimmed", "-o", "ndjson").stdout
    assert json.loads(torn)["size"] == 13
    assert segments.list_snapshots(stage.state / "log")
    # In the clear there never was anything.
    assert files_with(stage, LEAVER, FORGOTTEN, STAYS, QUESTION) == []
    keys = {one: key_of(stage, one) for one in (LEAVER, FORGOTTEN, STAYS)}

    assert stage.wxgpt("send", "--event", "unsubscribe", "--user", LEAVER).returncode == 0
    forgotten = stage.wxgpt("forget", FORGOTTEN, "--yes")
    assert forgotten.returncode == 0, forgotten.stderr
    assert "erased" in forgotten.stdout
    assert stage.wxgpt("forget", FORGOTTEN, "--yes").returncode == 1
    assert "--yes" in stage.wxgpt("forget", STAYS).stderr

    for stopped in (False, True):
        if stopped:
            assert stage.stop() == 0
        # Nor is there anything that could be decrypted: neither the keys, nor what snapshots have.
        assert [key_of(stage, one) is None for one in keys] == [True, True, False]
        gone = [keys[LEAVER], keys[FORGOTTEN]]
        for snapshot in segments.list_snapshots(stage.state / "log"):
            assert not [one for one in gone if one.encode() in snapshot.read_bytes()]
        said = stage.wxgpt("tail", "-n", "1000", "-o", "ndjson").stdout
        assert LEAVER not in said
        assert FORGOTTEN not in said
        assert f"{QUESTION}，{STAYS}" in said
        shown = [json.loads(line) for line in said.splitlines()]
        erased = [one for one in shown if one.get("hidden") == "erased"]
        assert {one["type"] for one in erased} >= {"QuestionAsked", "AnswerCompleted", "UserErased"}
        assert all(one["text"] is None for one in erased if one["type"] == "QuestionAsked")
        for command in (("replay",), ("replay", "--as-conversation"), ("log", "export")):
            done = stage.wxgpt(*command)
            assert done.returncode == 0, done.stderr
            assert STAYS in done.stdout
            assert LEAVER not in done.stdout
            assert FORGOTTEN not in done.stdout
        assert stage.wxgpt("log", "verify").returncode == 0

    stage.start_daemon()
    assert stage.send("继续", "--user", LEAVER)["reply"] is None
    assert "我是 AI 助手" in stage.send("/chatgpt", "--user", LEAVER)["reply"]
    assert LEAVER not in stage.said()
    assert QUESTION not in stage.said()


def key_of(stage, openid: str) -> str | None:
    """The reference under which the log has a user."""
    from wxgptd.domain.model.values import User
    from wxgptd.eventlog import keyring

    keys = keyring.Keyring(segments.keyring_path(stage.state), keyring.own_master(stage.state))
    found = keys.of(User("main", openid))
    return found.reference if found is not None else None


def test_who_may_not_have_the_master_key_sees_what_happened_and_not_to_whom(running):
    stage = running
    stage.stop()
    (stage.state / "keys" / "master").rename(stage.directory / "elsewhere")
    tail = stage.wxgpt("tail")
    assert tail.returncode == 0
    assert "not shown" in tail.stderr
    assert STAYS not in tail.stdout
    assert "[sealed]" in tail.stdout
    assert stage.wxgpt("log", "stat").returncode == 0
    assert stage.wxgpt("log", "verify").returncode == 0
    assert stage.wxgpt("log", "export").returncode == 4
    assert stage.wxgpt("backup", str(stage.directory / "b")).returncode == 4


def test_vacuum_drops_what_is_over(stage):
    stage.start_model()
    stage.configure_log('segment_size = "4KiB"\nmax_size = "8KiB"')
    stage.start_daemon()
    stage.send("/chatgpt")
    for _ in range(4):
        stage.send("很长的问题" * 250)
    last = json.loads(stage.wxgpt("status", "--json").stdout)["log_last_seq"]
    before = len(segments.list_segments(stage.state / "log"))
    said = json.loads(stage.wxgpt("log", "vacuum", "--json").stdout)
    assert said["snapshot"] == last
    assert said["dropped_segments"] > 0
    assert said["left_bytes"] < 12 * 1024  # the newest one stays, however large
    assert len(segments.list_segments(stage.state / "log")) == before - said["dropped_segments"]
    assert f"snapshot at event {last}" in stage.wxgpt("log", "vacuum").stdout
    # What is left is shown, what is not is told, and nothing is forgotten.
    assert stage.wxgpt("log", "verify").returncode == 0
    assert f"after event {last}" in stage.wxgpt("replay").stdout
    early = stage.wxgpt("replay", "--until", "1")
    assert early.returncode == 2
    assert f"history begins after event {last}" in early.stderr
    stage.stop()
    stage.start_daemon()
    assert f"after event {last}" in stage.wxgpt("replay").stdout
    assert stage.wxgpt("backup", str(stage.directory / "b")).returncode == 0
