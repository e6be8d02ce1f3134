"""Our client judged by llmock: every fault that it knows, and what users see of each.

llmock is a chaos server of others that also reports how a client dealt with each fault.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request

import pytest

from tests.peers.conftest import Peer
from tests.support.builders import filled
from wxgptd.domain.replies.texts import Texts

pytestmark = pytest.mark.processes

QUICK = 'idle_timeout = "2s"\n'


@pytest.fixture
def llmock(tmp_path):
    peer = Peer("llmock", "llmock==0.2.2")
    peer.start(
        peer.bin / "llmock",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(peer.port),
        "--stream-chunk-delay-ms",
        "20",
        ready="/v1/models",
        log=tmp_path / "llmock.log",
    )
    yield peer
    peer.stop()


def provoke(llmock: Peer, **behavior: object) -> None:
    body = json.dumps({"behaviors": [behavior]}).encode()
    request = urllib.request.Request(
        f"{llmock.url}/_llmock/scenario", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 201


DOWN = filled(Texts().failure_unavailable)
# A 429 whose Retry-After does not fit the window is given up on purpose, and so has no place here:
# tests/llm/test_client.py has it.
FAULTS = [
    ({"type": "fail", "status": 429, "retry_after": 1, "times": 2}, None),
    *[({"type": "fail", "status": status, "times": 1}, None) for status in (408, 500, 502, 503, 529)],
    ({"type": "fail", "status": 500, "times": 3}, DOWN),
    ({"type": "fail", "status": 400, "times": 1}, DOWN),
    *[
        ({"type": "stream_fault", "kind": kind, "after_chunks": 3}, None)
        for kind in ("truncate", "disconnect", "malformed", "stall")
    ],
    ({"type": "slow_first_token", "seconds": 3}, None),
]  # fmt: skip


def test_no_fault_that_it_knows_is_dealt_with_wrongly(llmock, stage):
    stage.configure(f"{llmock.url}/v1", extra=QUICK)
    stage.start_daemon()
    stage.send("/chatgpt")
    for number, (fault, seen) in enumerate(FAULTS):
        provoke(llmock, **fault)
        sent = stage.send(f"问题 {number}，请说得长一些")
        assert not sent["fault"], (fault, sent)
        if seen is None:
            assert "demo" in sent["reply"], (fault, sent)
            assert "中断" not in sent["reply"]
        else:
            assert sent["reply"] == seen, fault
    # A key that is refused to the daemon's own probe as well opens the breaker: it comes last.
    provoke(llmock, type="fail", status=401, times=2)
    assert stage.send("还在吗？")["reply"] == "抱歉，AI 服务暂时用不了，请稍后再试。"
    judged = subprocess.run(
        [llmock.bin / "llmock", "report", "--strict", "--url", llmock.url],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert judged.returncode == 0, judged.stdout
    assert "PASS" in judged.stdout
    print(judged.stdout)
