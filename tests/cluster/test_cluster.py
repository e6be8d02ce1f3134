"""Two daemons and three NATS servers, in real processes."""

from __future__ import annotations

import re
import signal
import threading
import time
from base64 import b64encode

import pytest

from tests.support.cluster_stage import ClusterStage

pytestmark = pytest.mark.processes


@pytest.fixture
def cluster(tmp_path):
    stage = ClusterStage(tmp_path)
    yield stage
    stage.end()


class Asking:
    """A question on its way, as `wxgpt send` asks it."""

    def __init__(self, node, text, user="alice"):
        self.said = {}
        self._thread = threading.Thread(
            target=lambda: self.said.update(node.send(text, "--user", user))
        )
        self._thread.start()

    def reply(self):
        self._thread.join(60)
        return self.said["reply"]


def test_a_standby_passes_messages_on_and_has_every_event(cluster):
    a, b = cluster.nodes
    cluster.start()
    assert b.say("/chatgpt", "alice")
    cluster.model.expect("你好").write("你好！").end()
    assert b.say("你好", "alice").startswith("你好！")
    cluster.until(lambda: cluster.events(a) == cluster.events(b))
    assert "AnswerCompleted" in [event["type"] for event in cluster.events(b)]


def test_only_the_leader_can_be_changed(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    cluster.until(lambda: cluster.summary(b)["lag"] == 0)
    refused = b.wxgpt("users", "block", "alice")
    assert refused.returncode == 1
    assert "this node is a standby; a leads" in refused.stderr
    assert "run the command on a" in refused.stderr
    assert a.wxgpt("users", "block", "alice").returncode == 0
    assert b.get("/readyz") == (503, "standby\n")
    assert b.get("/healthz") == (200, "ok\n")


def test_the_answer_of_a_killed_leader_arrives(cluster):
    a, b = cluster.nodes
    cluster.start()
    b.say("/chatgpt", "alice")
    first = cluster.model.expect("你好")
    asking = Asking(b, "你好")
    assert first.asked.wait(10)
    cluster.model.expect("你好").write("又见面了。").end()
    a.kill()
    assert "又见面了。" in asking.reply()
    assert cluster.model.asked.count("你好") == 2
    a.start_daemon(ready=False)
    cluster.until(lambda: cluster.summary(a)["role"] == "following")
    cluster.until(lambda: cluster.events(a) == cluster.events(b))


def test_a_frozen_leader_is_superseded_and_follows_after_a_restart(cluster):
    a, b = cluster.nodes
    cluster.start()
    b.say("/chatgpt", "alice")
    a.daemon.send_signal(signal.SIGSTOP)
    cluster.await_leader(b)
    cluster.model.expect("你好").write("你好！").end()
    assert "你好！" in b.say("你好", "alice")
    a.daemon.send_signal(signal.SIGCONT)
    assert a.daemon.wait(20) == 75
    assert "taken the lead" in a.said()
    a.start_daemon(ready=False)
    cluster.until(lambda: cluster.summary(a)["role"] == "following")
    assert cluster.summary(a)["leader"] == "b"
    cluster.until(lambda: cluster.events(a) == cluster.events(b))


@pytest.mark.parametrize("how", ["step-down", "SIGTERM"])
def test_a_planned_change_goes_unnoticed(cluster, how):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    first = cluster.model.expect("你好")
    asking = Asking(a if how == "step-down" else b, "你好")
    assert first.asked.wait(10)
    cluster.model.expect("你好").write("你好！").end()
    began = time.monotonic()
    if how == "step-down":
        done = a.wxgpt("cluster", "step-down")
        assert done.returncode == 0, done.stderr
        assert "ready to lead: b" in done.stdout
    else:
        a.daemon.send_signal(signal.SIGTERM)
    cluster.await_leader(b)
    assert "你好！" in asking.reply()
    assert time.monotonic() - began < 10
    if how == "step-down":
        cluster.until(lambda: cluster.summary(a)["role"] == "following")
        cluster.model.expect("再见").write("再见！").end()
        assert "再见！" in a.say("再见", "alice")
    else:
        assert a.daemon.wait(20) == 0


def test_a_node_alone_does_not_step_down(cluster):
    a, _ = cluster.nodes
    a.start_daemon()
    refused = a.wxgpt("cluster", "step-down")
    assert refused.returncode == 1
    assert "no other node can take over" in refused.stderr
    assert a.get("/readyz")[0] == 200


def test_questions_are_answered_though_the_servers_leader_dies(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    leader = cluster.nats_leader()
    cluster.nats.kill(leader)
    cluster.model.expect("你好").write("你好！").end()
    assert "你好！" in Asking(b, "你好").reply()
    assert cluster.model.asked.count("你好") == 1
    assert a.get("/readyz")[0] == 200


def test_the_key_of_an_erased_user_is_on_no_disk(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    a.say("/chatgpt", "carol")
    cluster.until(lambda: cluster.summary(b)["lag"] == 0 and cluster.events(b))
    records = cluster.key_records(a)
    assert len(records) >= 2
    assert all(cluster.on_disks(record) for record in records.values())
    done = a.wxgpt("forget", "alice", "-y")
    assert done.returncode == 0, done.stderr
    gone = set(records) - set(cluster.key_records(a))
    assert len(gone) == 1
    (number,) = gone
    cluster.until(lambda: not cluster.on_disks(records[number]), patience_s=300)
    kept = [record for other, record in records.items() if other != number]
    assert all(cluster.on_disks(record) for record in kept)


def test_a_log_that_went_on_alone_is_refused(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    cluster.until(lambda: len(cluster.events(b)) == len(cluster.events(a)))
    b.stop()
    text = b.config.read_text("utf-8")
    b.config.write_text(re.sub(r"(?s)\[cluster\].*", "", text), encoding="utf-8")
    b.start_daemon()
    b.say("/chatgpt", "bob")
    b.stop()
    b.config.write_text(text, encoding="utf-8")
    b.start_daemon(ready=False)
    assert b.daemon.wait(30) == 4
    assert "is not the beginning of the cluster's" in b.said()
    assert "wxgpt restore" in b.said()


def test_a_node_without_the_clusters_keys_is_refused(cluster):
    _, b = cluster.nodes
    (b.state / "keys" / "master").write_bytes(b64encode(bytes(32)))
    (b.state / "keys" / "users").unlink()
    b.start_daemon(ready=False)
    assert b.daemon.wait(30) == 4
    assert "has another master key" in b.said()


def test_a_cluster_is_created_once(cluster):
    again = cluster.nodes[0].wxgpt("cluster", "init")
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_everything_is_killed_and_nothing_is_lost(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    cluster.model.expect("你好").write("你好！").end()
    assert "你好！" in a.say("你好", "alice")
    cluster.until(lambda: cluster.summary(b)["lag"] == 0)
    before = cluster.events(a)
    for number in range(3):
        cluster.nats.kill(number)
    a.kill()
    b.kill()
    for number in range(3):
        cluster.nats.start(number)
    for node in (b, a):
        node.start_daemon(ready=False)
    cluster.until(lambda: {200, 503} == {node.get("/readyz")[0] for node in (a, b)}, 60.0)
    assert cluster.events(a)[: len(before)] == cluster.events(b)[: len(before)] == before
    cluster.model.expect("还记得吗？").write("记得。").end()
    assert "记得。" in a.say("还记得吗？", "alice")


def test_everything_is_restarted_in_turn_while_users_ask(cluster):
    cluster.start()
    a, b = cluster.nodes
    a.say("/chatgpt", "alice")
    steps = [
        *((node, number) for number, node in enumerate((b, a))),
        *((None, n) for n in range(3)),
    ]
    for turn, (node, number) in enumerate(steps):
        cluster.model.expect(f"问题{turn}").write(f"答案{turn}。").end()
        asking = Asking(a if node is b else b, f"问题{turn}")
        if node is None:
            cluster.nats.signal(number, signal.SIGTERM)
            cluster.nats.wait(number)
        else:
            assert node.stop() == 0
        assert f"答案{turn}。" in asking.reply()
        if node is None:
            cluster.nats.start(number)
            cluster.nats.await_ready(number)
            cluster.until(cluster.servers_are_current)
        else:
            node.start_daemon(ready=False)
            cluster.until(lambda node=node: cluster.summary(node)["leader"])
    cluster.until(lambda: cluster.events(a) == cluster.events(b))
    assert len(cluster.model.asked) == len(set(cluster.model.asked))


def test_wrong_credentials_are_named(cluster):
    a, _ = cluster.nodes
    text = a.config.read_text("utf-8").replace(
        'name = "main"', 'name = "main"\ncredentials = "x:y"'
    )
    a.config.write_text(text, encoding="utf-8")
    cluster.nats.require_password()
    done = a.wxgpt("cluster", "init")
    assert "refuse the connection" in done.stderr
    a.start_daemon(ready=False)
    assert a.daemon.wait(30) == 4
    assert "check `credentials` in [cluster]" in a.said()


def test_a_leader_that_is_cut_off_answers_nothing_and_is_replaced(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    cluster.until(lambda: cluster.summary(b)["lag"] == 0)
    cluster.ways[0].cut()
    cluster.await_leader(b)
    cluster.model.expect("你好").write("你好！").end()
    assert "你好！" in b.say("你好", "alice")
    with pytest.raises(OSError):
        a.say("/chatgpt", "bob")
    cluster.ways[0].heal()
    assert a.daemon.wait(30) == 75
    a.start_daemon(ready=False)
    cluster.until(lambda: cluster.events(a) == cluster.events(b))


def test_a_standby_that_is_cut_off_leaves_messages_to_others(cluster):
    a, b = cluster.nodes
    cluster.start()
    assert a.say("/chatgpt", "alice")
    cluster.ways[1].cut()

    def is_left():
        try:
            return not b.say("/chatgpt", "alice")
        except OSError:
            return True

    cluster.until(is_left)
    assert a.say("/chatgpt", "alice")
    assert a.get("/readyz")[0] == 200
    cluster.ways[1].heal()
    cluster.until(lambda: cluster.summary(b)["leader"] == "a")
    assert b.say("/chatgpt", "alice")
