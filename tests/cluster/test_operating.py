"""What the operator of a cluster sees and does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest

from tests.support.cluster_stage import ClusterStage
from tests.support.nats_servers import SERVER
from tests.support.nginx_front import ETC, NGINX, Front, make_certificate
from tests.support.processes import TOKEN
from wxgpt.wechat import messages, peer
from wxgptd.wechat import envelope

pytestmark = pytest.mark.processes


@pytest.fixture
def cluster(tmp_path):
    stage = ClusterStage(tmp_path)
    yield stage
    stage.end()


def doctor(node):
    found = json.loads(node.wxgpt("doctor", "--json").stdout)
    return [
        (each["ok"], each["detail"], each["id"]) for each in found if each["check"] == "cluster"
    ]


def test_doctor_checks_the_servers_and_the_nodes(cluster):
    a, b = cluster.nodes
    cluster.start()
    cluster.until(lambda: len(cluster.summary(a)["nodes"]) == 2)
    found = doctor(a)
    assert all(ok for ok, _, _ in found), found
    details = " ".join(detail for _, detail, _ in found)
    for part in ("NATS 2.", "copies: 3, current: 3", "a leads", "b follows"):
        assert part in details, details
    cluster.nats.kill(2)

    text = b.config.read_text("utf-8").replace('model = "demo"', 'model = "another"')
    b.config.write_text(text, encoding="utf-8")
    assert b.wxgpt("reload").returncode == 0
    cluster.until(lambda: "cluster-configuration" in [each[2] for each in doctor(a)])
    found = doctor(a)
    assert "nats-unreachable" in [identifier for _, _, identifier in found]


def test_the_status_says_what_a_node_does(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    cluster.until(lambda: cluster.summary(b)["lag"] == 0 and cluster.events(b))
    leads, follows = (json.loads(n.wxgpt("status", "--json").stdout) for n in (a, b))
    assert (leads["ready"], leads["cluster_leading"]) == (True, True)
    assert (follows["ready"], follows["cluster_leading"]) == (False, False)
    assert follows["cluster_events_behind"] == 0
    assert leads["cluster_commit_s"]["commits"] >= 1
    shown = b.wxgpt("cluster", "status").stdout
    assert re.search(r"cluster main: a leads\n  b .* 0 events to catch up on, this node", shown)
    b.kill()
    cluster.until(lambda: "does not run" in a.wxgpt("cluster", "status").stdout)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_a_takeover_behind_nginx_goes_unnoticed(cluster, tmp_path):
    a, b = cluster.nodes
    cluster.start()
    ports = {"10.0.0.1:9005": a.port, "10.0.0.2:9005": b.port}
    front = Front(tmp_path, ETC / "nginx.cluster.conf", ports)
    try:
        hook = peer.Webhook(url="/wx/main", token=TOKEN)
        wechat = peer.Peer(hook, http=None, clock=None, wall=time.time)

        def say(text):
            url, body = wechat.request("alice", messages.text_message(text))
            return envelope.parse(front.post(url, body).read())["Content"]

        assert say("/chatgpt")
        for number in range(6):
            cluster.model.expect(f"问题{number}").write("答案。").end()
            assert "答案。" in say(f"问题{number}")
        a.kill()
        cluster.model.expect("还在吗？").write("还在。").end()
        assert "还在。" in say("还在吗？")
    finally:
        front.end()


def test_the_demo_shows_a_takeover():
    done = subprocess.run(
        [sys.executable, "-m", "wxgpt", "demo", "--cluster"],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9 of the node that leads" in done.stdout
    assert "cluster demo: b leads" in done.stdout


def test_nats_accepts_the_shipped_configuration(tmp_path):
    make_certificate(tmp_path)
    text = (ETC / "nats.conf").read_text("utf-8")
    for theirs, ours in (
        ("/etc/nats/server.pem", tmp_path / "fullchain.pem"),
        ("/etc/nats/ca.pem", tmp_path / "fullchain.pem"),
        ("/etc/nats/server.key", tmp_path / "privkey.pem"),
        ("/var/lib/nats", tmp_path / "store"),
    ):
        assert theirs in text
        text = text.replace(theirs, str(ours))
    config = tmp_path / "nats.conf"
    config.write_text(text)
    done = subprocess.run([SERVER, "-t", "-c", config], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_standby_of_an_older_version(tmp_path):
    cluster = ClusterStage(tmp_path)
    try:
        a, b = cluster.nodes
        b.program = "tests.support.older_wxgptd"
        cluster.start()
        assert b.say("/chatgpt", "alice"), "it passes messages on and follows, as any standby"
        cluster.until(lambda: cluster.events(a) == cluster.events(b))
        refused = a.wxgpt("cluster", "step-down")
        assert refused.returncode == 1, "it could not read all that is written"
        assert "no other node can take over" in refused.stderr

        assert a.wxgpt("forget", "alice", "--yes").returncode == 0  # a kind that it does not know
        assert b.daemon.wait(30) != 0
        assert "install that version or a later one" in b.said()

        b.program = "wxgptd"
        b.start_daemon(ready=False)
        cluster.until(lambda: cluster.summary(b)["role"] == "following")
        cluster.until(lambda: a.wxgpt("cluster", "step-down").returncode == 0)
        cluster.await_leader(b)
        cluster.until(lambda: cluster.events(a) == cluster.events(b))
    finally:
        cluster.end()
