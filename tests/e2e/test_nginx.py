"""The daemon behind a real nginx with the shipped configuration."""

from __future__ import annotations

import http.client
import re

import pytest

from tests.support.nginx_front import ETC, NGINX, Front
from tests.support.processes import Stage
from tests.support.scripted_model import ScriptedModel

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]


@pytest.fixture
def theatre(tmp_path):
    model, stage = ScriptedModel(), Stage(tmp_path)
    window = '[window]\ndeliberate_timeouts_per_5min = 0\nreply_margin = "4s"\n'
    stage.configure(model.base_url, extra=window)
    stage.start_daemon()
    front = Front(tmp_path, ETC / "nginx.conf", {"127.0.0.1:9005": stage.port})
    yield model, stage, front
    front.end()
    model.close()
    stage.end()


def next_event(response: http.client.HTTPResponse) -> str:
    lines: list[str] = []
    while line := response.readline().decode():
        if line == "\n" and any(field.startswith("data:") for field in lines):
            return "".join(lines)
        lines.append(line)
    return "".join(lines)


def test_chunks_arrive_immediately_despite_nginx_buffering(theatre):
    model, stage, front = theatre
    answer = model.expect("经过 nginx")
    stage.send("/chatgpt")
    link = stage.send("经过 nginx")["reply"]
    path = re.search(r"/a/[\w-]{22}", link).group()
    page = front.get(path)
    assert page.status == 200
    assert "经过 nginx" in page.read().decode()
    events = front.get(f"{path}/events")
    assert "thinking" in next_event(events)
    # Each piece arrives before the next one is written: nothing is buffered.
    for piece in ("第一段。", "第二段。", "第三段。"):
        answer.write(f"{piece}\n\n")
        event = ""
        while piece not in event:
            event = next_event(events)
            assert event, "the stream has ended"
    answer.end()
    last = next_event(events)
    assert '"final":true' in last
    assert events.readline() == b""


def test_nginx_closes_connections_while_the_daemon_is_down(theatre):
    _, stage, front = theatre
    stage.stop()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        front.get("/wx/main")
    stage.start_daemon()
    assert front.get("/healthz").status == 200
