"""Waiting for a change in a directory."""

from __future__ import annotations

import threading

from wxgpt.log.watch import Watch


def test_a_write_wakes_whoever_waits(tmp_path):
    found, woken = Watch(tmp_path), []
    waiting = threading.Thread(target=lambda: woken.append(found.wait(60.0)))
    waiting.start()
    (tmp_path / "x").write_text("a")
    waiting.join()
    assert woken == [True]
    found.close()


def test_what_came_before_is_not_waited_for(tmp_path):
    found = Watch(tmp_path)
    (tmp_path / "x").write_text("a")
    assert found.wait(60.0)
    found.close()


def test_what_was_seen_wakes_nobody_again(tmp_path):
    found = Watch(tmp_path)
    (tmp_path / "x").write_text("a")
    assert found.wait(60.0)
    assert not found.wait(0.0)
    found.close()


def test_without_a_change_it_ends_by_itself(tmp_path):
    found = Watch(tmp_path)
    assert not found.wait(0.0)
    found.close()


def test_where_the_kernel_does_not_tell_it_looks_now_and_then(tmp_path):
    found = Watch(tmp_path / "missing")
    assert found.wait(3_600.0), "whoever waits has to look"
    found.close()
