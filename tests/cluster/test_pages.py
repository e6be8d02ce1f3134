"""Pages on a node that does not lead: read there, written on the leader, live everywhere."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.support.cluster_stage import ClusterStage

pytestmark = pytest.mark.processes

LATE = '[window]\ndeliberate_timeouts_per_5min = 0\nreply_margin = "4s"\n'


@pytest.fixture
def cluster(tmp_path):
    stage = ClusterStage(tmp_path, extra=LATE)
    yield stage
    stage.end()


class Reader:
    """A browser that knows only one node."""

    def __init__(self, cluster, node):
        self._origin = cluster.public_url
        self._base = f"http://127.0.0.1:{node.port}"
        self.cookie = self.form = ""

    def get(self, path):
        request = urllib.request.Request(self._base + path, headers={"Cookie": self.cookie})
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read().decode()

    def poll(self, page, position=""):
        return json.loads(self.get(f"{page}/poll?position={position}"))

    def post(self, path, body, key=""):
        headers = {
            "Content-Type": "application/json", "Origin": self._origin, "Cookie": self.cookie,
            "X-Form-Token": self.form, "Idempotency-Key": key,
        }  # fmt: skip
        request = urllib.request.Request(self._base + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                if cookie := response.headers.get("Set-Cookie"):
                    self.cookie = cookie.split(";")[0]
                return json.load(response)
        except urllib.error.HTTPError as error:
            return {"status": error.code, "body": error.read().decode()}

    def claim(self, link):
        page, secret = link.split("#")
        self.form = self.post(page + "/claim", {"secret": secret})["form"]


def link_in(reply):
    return re.search(r"http://[^/]+(/a/[\w-]+#[\w-]+)", reply).group(1)


def test_a_live_answer_is_read_on_a_standby(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    growing = cluster.model.expect("慢慢写").write("第一段。")
    page = link_in(a.say("慢慢写", "alice")).split("#")[0]
    reader = Reader(cluster, b)
    cluster.until(lambda: "第一段" in json.dumps(reader.poll(page), ensure_ascii=False))
    position = reader.poll(page)["position"]
    update = {}
    waiting = threading.Thread(target=lambda: update.update(reader.poll(page, position)))
    waiting.start()
    time.sleep(0.3)
    growing.write("第二段。")
    waiting.join(20)
    assert "第二段" in json.dumps(update, ensure_ascii=False)
    growing.end()
    cluster.until(lambda: "aria-busy" not in reader.get(page))
    assert "第二段" in reader.get(page)


def test_what_is_written_on_a_standby_goes_to_the_leader(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    growing = cluster.model.expect("慢慢写").write("慢慢")
    reply = a.say("慢慢写", "alice")
    growing.end()
    reader = Reader(cluster, b)
    reader.claim(link_in(reply))
    assert reader.cookie
    page = link_in(reply).split("#")[0]
    cluster.model.expect("还有呢？").write("没有了。").end()
    asked = reader.post(page + "/ask", {"question": "还有呢？"}, key="a-double-tap")
    again = reader.post(page + "/ask", {"question": "还有呢？"}, key="a-double-tap")
    assert asked["token"] == again["token"]
    cluster.until(lambda: "没有了" in reader.get(asked["page"]))
    assert cluster.model.asked.count("还有呢？") == 1


def test_a_page_goes_on_through_a_takeover(cluster):
    a, b = cluster.nodes
    cluster.start()
    a.say("/chatgpt", "alice")
    first = cluster.model.expect("慢慢写").write("第一次。")
    link = link_in(a.say("慢慢写", "alice"))
    page = link.split("#")[0]
    reader = Reader(cluster, b)
    reader.claim(link)
    cluster.until(lambda: "第一次" in json.dumps(reader.poll(page), ensure_ascii=False))
    assert first.asked.is_set()
    cluster.model.expect("慢慢写").write("第二次。").end()
    a.daemon.send_signal(signal.SIGKILL)
    cluster.model.expect("还有呢？").write("没有了。").end()
    asked = reader.post(page + "/ask", {"question": "还有呢？"}, key="during-takeover")
    assert "token" in asked, asked
    cluster.until(lambda: "第二次" in reader.get(page))
    cluster.until(lambda: "没有了" in reader.get(asked["page"]))
