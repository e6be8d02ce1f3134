"""Waiting for a change in a directory."""

from __future__ import annotations

import threading
import time

from wxgpt import watch
from wxgpt.watch import Watch


def test_a_write_wakes_whoever_waits(tmp_path):
    found = Watch(tmp_path)
    threading.Timer(0.2, (tmp_path / "x").write_text, ("a",)).start()
    began = time.monotonic()
    found.wait(20.0)
    assert time.monotonic() - began < 10
    found.close()


def test_what_came_before_is_not_waited_for(tmp_path):
    found = Watch(tmp_path)
    (tmp_path / "x").write_text("a")
    began = time.monotonic()
    found.wait(20.0)
    assert time.monotonic() - began < 10
    found.close()


def test_without_a_change_it_ends_by_itself(tmp_path):
    found = Watch(tmp_path)
    found.wait(0.05)
    found.close()


def test_where_the_kernel_does_not_tell_it_looks_now_and_then(tmp_path):
    found = Watch(tmp_path / "missing")
    began = time.monotonic()
    found.wait(20.0)
    assert time.monotonic() - began >= watch.POLL_S * 0.9
    found.close()
