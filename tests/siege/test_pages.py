"""One follower with one link cannot take the answer away from anybody else."""

from __future__ import annotations

import re
import time

import pytest

from tests.siege import attack
from tests.siege.conftest import SECONDS, many

pytestmark = [pytest.mark.processes, pytest.mark.alone]

SLOW_TO_RENDER = "[" * 16_000
MOST_GROWTH_MB = 150


@pytest.fixture
def history(siege):
    """The link to a history of twenty answers that are slow to render."""
    siege.start()
    siege.stage.say("/chatgpt", "mallory")
    for number in range(20):
        siege.ask(f"问题 {number}", f"{number}{SLOW_TO_RENDER}")
    return re.search(r"http://\S+/h/[\w-]+", siege.stage.say("/history", "mallory")).group()


def test_a_history_that_is_asked_for_and_never_read(siege, history):
    with siege.under("history, hung up", *many(attack.ask_and_hang_up, 8, history)):
        time.sleep(SECONDS)


def test_a_history_that_is_searched(siege, history):
    with siege.under("search", *many(attack.read_all, 16, f"{history}?q=%5B%5B")):
        time.sleep(SECONDS)


def test_a_history_that_is_downloaded(siege, history):
    with siege.under("download", *many(attack.read_all, 8, f"{history}/download")):
        time.sleep(SECONDS)


def test_readers_who_take_nothing(siege, history):
    siege.stage.get(history)
    before = siege.memory_mb()
    with siege.under("200 readers who take nothing", *many(attack.take_nothing, 2, history)):
        time.sleep(SECONDS)
        assert siege.memory_mb() < before + MOST_GROWTH_MB


def test_an_answer_that_is_asked_for_streamed_and_polled(siege):
    siege.start(extra='[window]\ndeliberate_timeouts_per_5min = 0\nreply_margin = "4s"\n')
    siege.stage.say("/chatgpt", "mallory")
    growing = siege.model.expect("慢慢写")
    link = re.search(r"http://\S+/a/[\w-]+", siege.stage.say("慢慢写", "mallory")).group()
    growing.write(SLOW_TO_RENDER)
    attacks = [
        *many(attack.ask_and_hang_up, 3, link),
        *many(attack.read_all, 2, f"{link}/poll"),
        *many(attack.ask_and_hang_up, 3, f"{link}/events"),
    ]
    with siege.under("answer, stream and poll", *attacks):
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            growing.write("[" * 1_000)
            time.sleep(0.5)
    growing.end()
