"""The cable of a machine with a node and a NATS server is pulled."""

from __future__ import annotations

import pytest

from tests.support.cluster_stage import ClusterStage
from tests.support.machines import CAN, Machines

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not CAN, reason="network namespaces need root and the program ip"),
]


@pytest.fixture
def machines():
    machines = Machines(3)
    yield machines
    machines.end()


@pytest.fixture
def cluster(tmp_path, machines):
    stage = ClusterStage(tmp_path, machines=machines)
    yield stage
    stage.end()


@pytest.mark.parametrize("streams_led_by", [0, 1], ids=["with the streams", "without"])
def test_a_machine_without_a_network_is_replaced_and_returns(machines, cluster, streams_led_by):
    cluster.start()
    cluster.let_lead(streams_led_by)
    a, b = cluster.nodes
    a.say("/chatgpt", "alice")
    cluster.model.expect("未完").write("未")  # begun on a, and never ended
    with pytest.raises(OSError):
        a.say("未完", "alice")
    cluster.until(lambda: cluster.events(a) == cluster.events(b))
    cluster.model.expect("未完").write("完了。").end()

    machines.cut(0)
    cluster.await_leader(b)
    cluster.until(lambda: "完了。" in [event.get("text") for event in cluster.events(b)])
    cluster.model.expect("你好").write("你好！").end()
    assert "你好！" in b.say("你好", "alice")

    machines.heal(0)
    assert a.daemon.wait(60) == 75
    a.start_daemon(ready=False)
    cluster.until(lambda: cluster.events(a) == cluster.events(b))
    assert b.get("/readyz")[0] == 200


def test_a_machine_with_nothing_but_a_server_is_not_missed(machines, cluster):
    cluster.start()
    cluster.let_lead(0)
    a, b = cluster.nodes
    assert a.say("/chatgpt", "alice"), "a first message needs the stream of keys, too"
    machines.cut(2)
    cluster.model.expect("你好").write("你好！").end()
    assert "你好！" in b.say("你好", "alice")
    assert a.get("/readyz")[0] == 200, "no other node has taken over"
    machines.heal(2)
    cluster.until(cluster.servers_are_current)
