"""A flood of connections, files or log lines does not keep WeChat from getting its replies."""

from __future__ import annotations

import re
import socket
import time

import pytest

from tests.siege import attack
from tests.siege.conftest import SECONDS, many

pytestmark = [pytest.mark.processes, pytest.mark.alone]

WINDOW = '[window]\ndeliberate_timeouts_per_5min = 0\nreply_margin = "4s"\n'
MAX_LOG_LINES = 40


def growing_answer(siege, user: str) -> str:
    """Return the link to an answer that is being written."""
    siege.stage.say("/chatgpt", user)
    siege.model.expect("慢慢写").write("天")
    return re.search(r"http://\S+/a/[\w-]+", siege.stage.say("慢慢写", user)).group()


def follow(link: str, count: int) -> list[socket.socket]:
    readers = []
    for _ in range(count):
        try:
            reader, path = attack.connect(f"{link}/events")
            reader.settimeout(5)
            reader.sendall(attack.request(path))
            reader.recv(4_096)  # the start of the stream, a rejection, or the end of the connection
        except OSError:
            continue
        readers.append(reader)
    return readers


def test_320_readers_do_not_crowd_wechat_out_of_300_connections(siege):
    siege.start(extra=WINDOW, server="max_connections = 300\nmax_connections_per_address = 300")
    readers = follow(growing_answer(siege, "mallory"), 320)
    with siege.under("320 readers, 300 connections"):
        time.sleep(SECONDS)
    for reader in readers:
        reader.close()
    assert "full: " in siege.stage.said()


def test_a_genuine_message_is_answered_despite_a_limit_of_64_files(siege):
    siege.start(extra=WINDOW, max_files=64)
    readers = follow(growing_answer(siege, "mallory"), 60)
    with siege.under("60 readers, 64 files"):
        time.sleep(SECONDS)
        siege.stage.say("/chatgpt", "alice")
        assert siege.ask("天为什么是蓝的？", "因为散射。", "alice") == "因为散射。"
    for reader in readers:
        reader.close()


def test_forged_posts_cause_a_bounded_number_of_log_lines(siege):
    siege.start()
    webhook = f"http://127.0.0.1:{siege.stage.port}/wx/main"
    missing = f"http://127.0.0.1:{siege.stage.port}/wx/main/"
    attacks = [*many(attack.post_forgeries, 3, webhook), *many(attack.post_forgeries, 1, missing)]
    with siege.under("forged posts", *attacks):
        time.sleep(SECONDS)
    lines = siege.stage.said().splitlines()
    assert len(lines) < MAX_LOG_LINES + SECONDS, lines[-5:]
    assert any("more like this" in line for line in lines) or SECONDS < 10
    assert siege.stage.stop() == 0
    assert "more like this" in siege.stage.said(), "suppressed lines are summarised at shutdown"
