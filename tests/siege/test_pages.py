"""One follower with one link cannot keep other users from getting their answers."""

from __future__ import annotations

import re
import time
from collections import Counter
from functools import partial

import pytest

from tests.siege import attack
from tests.siege.conftest import SECONDS, many
from tests.support.scripted_model import Answer

pytestmark = [pytest.mark.processes, pytest.mark.alone]

LATE = '[window]\ndeliberate_timeouts_per_5min = 0\nreply_margin = "3s"\n'
"""Without deliberate timeouts, an answer continues on the page after two seconds."""

SLOW_TO_RENDER = "[" * 16_000
LONG_ANSWER = ["天空是蓝色的。" * 100] * 120
"""84,000 characters, in pieces as a model sends them."""

MAX_GROWTH_MB = 100
"""Up to 64 MiB in transit to readers, plus the buffers of 200 connections."""


@pytest.fixture
def history(siege):
    """Return the link to a history of twenty answers that are slow to render."""
    siege.start()
    siege.stage.say("/chatgpt", "mallory")
    for number in range(20):
        siege.ask(f"问题 {number}", f"{number}{SLOW_TO_RENDER}")
    return re.search(r"http://\S+/h/[\w-]+", siege.stage.say("/history", "mallory")).group()


def test_unread_history_requests_do_not_delay_others(siege, history):
    with siege.under("history, hung up", *many(attack.request_and_hang_up, 8, history)):
        time.sleep(SECONDS)


def test_history_searches_do_not_delay_others(siege, history):
    with siege.under("search", *many(attack.read_repeatedly, 16, f"{history}?q=%5B%5B")):
        time.sleep(SECONDS)


def test_history_downloads_do_not_delay_others(siege, history):
    with siege.under("download", *many(attack.read_repeatedly, 8, f"{history}/download")):
        time.sleep(SECONDS)


def start_slow_answer(siege, user: str) -> tuple[str, Answer]:
    """Return the link to an answer that continues on the page, and the answer itself."""
    siege.stage.say("/chatgpt", user)
    growing = siege.model.expect("慢慢写").write("天")
    reply = siege.stage.say("慢慢写", user)
    return re.search(r"http://\S+/a/[\w-]+", reply).group(), growing


def test_readers_that_read_nothing_use_bounded_memory(siege):
    siege.start(extra=LATE)
    links = []
    for number in range(4):
        link, answer = start_slow_answer(siege, f"mallory{number}")
        for piece in LONG_ANSWER:
            answer.write(piece)
        answer.end()
        siege.stage.get(link)
        links.append(link)
    before, statuses = siege.memory_mb(), []
    attacks = [partial(attack.read_nothing, link, statuses=statuses, count=50) for link in links]
    with siege.under("200 readers that read nothing", *attacks):
        time.sleep(SECONDS)
        assert siege.memory_mb() < before + MAX_GROWTH_MB
    assert len(statuses) == 200
    assert statuses.count(b"200") > 50, Counter(statuses)
    assert set(statuses) <= {b"200", b"429", b"503"}, Counter(statuses)


def test_pipelined_requests_and_silent_connections_do_not_delay_others(siege):
    siege.start(extra=LATE, server="max_connections = 200\nmax_connections_per_address = 200")
    link, growing = start_slow_answer(siege, "mallory")
    for piece in LONG_ANSWER:
        growing.write(piece)
    attacks = [
        *many(attack.pipeline, 4, link, ("", "/poll", "/events")),
        *many(attack.pipeline, 2, link.replace("/a/", "/%61/"), ("/poll", "/events")),
        *many(attack.stay_silent, 3, link),
    ]
    with siege.under("requests sent ahead, and silence", *attacks):
        time.sleep(SECONDS)
    growing.end()


def test_requests_streams_and_polls_of_an_answer_do_not_delay_others(siege):
    siege.start(extra=LATE)
    link, growing = start_slow_answer(siege, "mallory")
    growing.write(SLOW_TO_RENDER)
    attacks = [
        *many(attack.request_and_hang_up, 3, link),
        *many(attack.read_repeatedly, 2, f"{link}/poll"),
        *many(attack.request_and_hang_up, 3, f"{link}/events"),
    ]
    with siege.under("answer, stream and poll", *attacks):
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            growing.write("[" * 1_000)
            time.sleep(0.5)
    growing.end()
