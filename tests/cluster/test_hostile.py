"""Others who can reach the NATS servers, and operators in a hurry."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading

import pytest

from tests.support.cluster_stage import ClusterStage

pytestmark = pytest.mark.processes

PUBLISH = """
import asyncio, sys
from nats.aio.client import Client
async def main():
    client = Client()
    await client.connect(sys.argv[2:])
    for data in (b"garbage", b"", bytes(40), b"x" * 100_000):
        await client.publish(sys.argv[1], data)
    await client.flush()
    await client.close()
asyncio.run(main())
"""


@pytest.fixture
def cluster(tmp_path):
    stage = ClusterStage(tmp_path)
    yield stage
    stage.end()


def publish(cluster, subject):
    subprocess.run([sys.executable, "-c", PUBLISH, subject, *cluster.nats.urls], check=True)


def test_what_no_node_has_written_is_skipped(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    cluster.until(lambda: cluster.summary(b)["lag"] == 0)
    publish(cluster, "wxgptd.main.log")
    with pytest.raises(OSError):  # the leader's next append is refused, and it exits
        a.say("/stop", "alice")
    assert a.daemon.wait(20) == 75
    cluster.await_leader(b)
    a.start_daemon(ready=False)
    cluster.until(lambda: cluster.summary(a)["role"] == "following")
    cluster.model.expect("你好").write("你好！").end()
    assert "你好！" in a.say("你好", "alice")
    cluster.until(lambda: cluster.events(a) == cluster.events(b))
    assert "was not written by a node" in b.said()
    assert "Traceback" not in a.said() + b.said()


def test_garbage_between_the_nodes_changes_nothing(cluster):
    a, b = cluster.nodes
    cluster.start()
    for subject in ("beat", "live", "wanted"):
        publish(cluster, f"wxgptd.main.{subject}")
    assert b.say("/chatgpt", "alice")
    assert cluster.summary(b)["leader"] == "a"
    assert "Traceback" not in a.said() + b.said()


def test_a_running_cluster_is_not_replaced(cluster):
    a, b = cluster.nodes
    cluster.start()
    refused = b.wxgpt("cluster", "init", "--replace", "--yes")
    assert refused.returncode == 1
    assert "nodes of the cluster main are running" in refused.stderr
    a.stop()
    b.stop()
    done = b.wxgpt("cluster", "init", "--replace", "--yes")
    assert done.returncode == 0, done.stderr
    b.start_daemon()
    assert b.say("/chatgpt", "alice")


def test_tls_is_insisted_on(cluster):
    """A server that offers no TLS learns no password."""
    a, _ = cluster.nodes
    learned = []
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def pretend():
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer:
                info = {"server_id": "x", "version": "2.12.0", "auth_required": True,
                        "max_payload": 1_048_576, "headers": True, "proto": 1}  # fmt: skip
                peer.sendall(f"INFO {json.dumps(info)}\r\n".encode())
                peer.settimeout(3)
                with contextlib.suppress(OSError):
                    learned.append(peer.recv(4_096))

    thread = threading.Thread(target=pretend)
    thread.start()
    text = a.config.read_text("utf-8")
    begin, end = text.index("servers = ["), text.index("]", text.index("servers = [")) + 1
    text = (
        text[:begin] + f'servers = ["tls://127.0.0.1:{port}"]\ncredentials = "u:hush"' + text[end:]
    )
    a.config.write_text(text, encoding="utf-8")
    done = a.wxgpt("cluster", "init")
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(10)
    assert done.returncode == 4
    assert "does not offer TLS" in done.stderr
    assert b"hush" not in b"".join(learned)
