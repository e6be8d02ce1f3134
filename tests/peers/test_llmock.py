"""Our client, judged by llmock: every fault it can inject, and what users see after each.

llmock is a third-party chaos server that also reports how a client handled each fault.
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
# A 429 whose Retry-After exceeds the window is abandoned on purpose, so it is not listed here:
# tests/llm/test_client.py covers it.
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


def test_every_fault_is_handled_correctly(llmock, stage):
    stage.configure(f"{llmock.url}/v1", extra=QUICK)
    stage.start_daemon()
    stage.send("/chatgpt")
    for number, (fault, expected) in enumerate(FAULTS):
        provoke(llmock, **fault)
        sent = stage.send(f"问题 {number}，请说得长一些")
        assert not sent["fault"], (fault, sent)
        if expected is None:
            assert "demo" in sent["reply"], (fault, sent)
            assert "中断" not in sent["reply"]
        else:
            assert sent["reply"] == expected, fault
    # If the daemon's own probe is also refused, the circuit breaker opens, so this comes last.
    provoke(llmock, type="fail", status=401, times=2)
    assert stage.send("还在吗？")["reply"] == "抱歉，AI 服务暂时用不了，请稍后再试。"
    report = subprocess.run(
        [llmock.bin / "llmock", "report", "--strict", "--url", llmock.url],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert report.returncode == 0, report.stdout
    assert "PASS" in report.stdout
    print(report.stdout)
