"""One user's errors and one provider's failures do not affect other users."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.siege.conftest import SECONDS
from tests.support import injected

pytestmark = [pytest.mark.processes, pytest.mark.alone]

FIREWALL = 403, "<html>Request blocked: <script></html>"
QUOTED = 400, '{"error": {"message": "cannot parse: 余额不足 insufficient_quota"}}'
BROKEN = 500, "Internal Server Error"


def talk(siege, user: str, text: str, running) -> None:
    while running():
        with contextlib.suppress(OSError):
            siege.stage.say(text, user)
        time.sleep(0.05)


@pytest.mark.parametrize("response", [FIREWALL, QUOTED, BROKEN], ids=["403", "quoted", "500"])
def test_one_user_s_messages_do_not_silence_other_users(siege, response):
    siege.model.refuses = lambda question: response if "<script>" in question else None
    siege.start()
    others = [f"other{number}" for number in range(4)]
    for user in (*others, "mallory"):
        siege.stage.say("/chatgpt", user)
    poison = partial(
        talk, siege, "mallory", "<script>alert(1)</script> 余额不足 insufficient_quota"
    )
    wrong_replies = []
    with siege.under(f"poison ({response[0]})", poison):
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for user in others:
                reply = siege.ask("天为什么是蓝的？", "因为散射。", user)
                wrong_replies += [reply] if reply != "因为散射。" else []
    assert wrong_replies == []
    assert "circuit breaker open" not in siege.stage.said()
    assert "<script>" not in siege.stage.said(), "text from a user in the log"
    assert "余额不足" not in siege.stage.said()


SLOW = """
[assistant.slow]
command = "/slow"
base_url = "http://model.slow.test/v1"
model = "m"
first_token_within = "12s"
"""


def test_a_hanging_name_lookup_does_not_delay_other_assistants(siege):
    environ = {**os.environ, "LD_PRELOAD": str(injected.library("slow_names"))}
    siege.start(extra=SLOW, environ=environ)
    siege.stage.say("/chatgpt", "alice")
    victims = [f"victim{number}" for number in range(30)]
    for user in victims:
        siege.stage.say("/slow", user)
    attacks = [partial(talk, siege, user, "在吗？") for user in victims]
    waits_s = []
    with siege.under("a hanging name lookup", *attacks):
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            began = time.monotonic()
            assert siege.ask("天为什么是蓝的？", "因为散射。", "alice") == "因为散射。"
            waits_s.append(time.monotonic() - began)
            time.sleep(0.1)
    assert max(waits_s) < 1.0, waits_s


def pictures(size: int) -> ThreadingHTTPServer:
    body = b"\xff\xd8\xff\xe0" + os.urandom(size)

    class Pictures(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_forty_pictures_at_once_use_bounded_memory_and_release_it(siege):
    server = pictures(5_000_000)
    host = f"127.0.0.1:{server.server_address[1]}"
    try:
        siege.model.delay_s = 3.0
        siege.start(extra=f'vision = true\n[pictures]\nhosts = ["{host}"]\n')
        senders = [f"sender{number}" for number in range(40)]
        for user in senders:
            siege.stage.say("/chatgpt", user)
        before, peak = siege.memory_mb(), 0.0
        with siege.under("40 pictures of 5 MB"):
            threads, replies = [], []

            def send_picture(number: int, user: str) -> None:
                replies.append(siege.stage.show(f"http://{host}/{number}", user))

            for number, user in enumerate(senders):
                threads.append(Thread(target=send_picture, args=(number, user)))
                threads[-1].start()
            while any(thread.is_alive() for thread in threads):
                peak = max(peak, siege.memory_mb())
                time.sleep(0.05)
        assert len(replies) == 40
        answered = replies.count("没有准备。")
        # A picture that waited too long for memory gets a link.
        linked = sum("/a/" in reply for reply in replies)
        assert answered + linked == 40, Counter(replies)
        assert answered >= 20, Counter(replies)
        time.sleep(1)
        after = siege.memory_mb()
        siege._report(
            f"pictures: {before:.0f} MB, at most {peak:.0f} MB, afterwards {after:.0f} MB"
        )
        assert peak < before + 300
        assert after < before + 80, "at most 32 MB of pictures are cached"
    finally:
        server.shutdown()
        server.server_close()
