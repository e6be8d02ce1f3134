"""Waiting for a change in a directory."""

from __future__ import annotations

import threading

from wxgpt.log.watch import Watch


def test_a_write_wakes_a_waiting_thread(tmp_path):
    watch, woken = Watch(tmp_path), []
    waiting = threading.Thread(target=lambda: woken.append(watch.wait(60.0)))
    waiting.start()
    (tmp_path / "x").write_text("a")
    waiting.join()
    assert woken == [True]
    watch.close()


def test_an_earlier_change_ends_the_wait_immediately(tmp_path):
    watch = Watch(tmp_path)
    (tmp_path / "x").write_text("a")
    assert watch.wait(60.0)
    watch.close()


def test_a_change_ends_only_one_wait(tmp_path):
    watch = Watch(tmp_path)
    (tmp_path / "x").write_text("a")
    assert watch.wait(60.0)
    assert not watch.wait(0.0)
    watch.close()


def test_a_wait_without_a_change_times_out(tmp_path):
    watch = Watch(tmp_path)
    assert not watch.wait(0.0)
    watch.close()


def test_a_directory_that_inotify_cannot_watch_is_polled(tmp_path):
    watch = Watch(tmp_path / "missing")
    assert watch.wait(3_600.0), "the caller has to check"
    watch.close()
