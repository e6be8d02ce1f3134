"""Work for pages: links take turns, texts are rendered once, and CPU time has a budget."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from wxgptd.pages.render_queue import (
    BUDGET_BACK,
    BUDGET_S,
    MAX_WAITING,
    MAX_WAITING_PER_OWNER,
    RenderQueue,
    TooBusy,
    as_written,
)


class Shop:
    """A render_queue whose thread does one job per `step`, each with `takes_s` of CPU time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.jobs: list[tuple[Deferred, object]] = []
        self.cpu = 0.0
        self.takes_s = 0.0
        self.done: list[object] = []
        self.render_queue = RenderQueue(self._in_thread, self.clock, self._thread_time)

    def _in_thread(self, work) -> Deferred:
        done: Deferred = Deferred()
        self.jobs.append((done, work))
        return done

    def _thread_time(self) -> float:
        self.cpu += self.takes_s
        return self.cpu

    def step(self) -> None:
        done, work = self.jobs.pop(0)
        done.callback(work())

    def run_out(self) -> None:
        while self.jobs:
            self.step()

    def run(self, link: str, name: object) -> Deferred:
        return self.render_queue.run(link, lambda: self.done.append(name) or name)


@pytest.fixture
def shop():
    return Shop()


def failures(*waiting: Deferred) -> list:
    errors: list = []
    for deferred in waiting:
        deferred.addErrback(errors.append)
    return errors


def test_links_take_turns(shop):
    for number in range(5):
        shop.run("greedy", f"greedy {number}")
    shop.run("modest", "modest 0")
    shop.run_out()
    assert shop.done[:3] == ["greedy 0", "greedy 1", "modest 0"]


def test_jobs_run_one_at_a_time(shop):
    for number in range(4):
        shop.run(f"link {number}", number)
    assert len(shop.jobs) == 1


def test_work_without_waiters_is_not_started(shop):
    shop.run("a", "first")
    abandoned_jobs = [shop.run("a", f"abandoned {number}") for number in range(10)]
    failures(*abandoned_jobs)
    for job in abandoned_jobs:
        job.cancel()
    shop.run("a", "last")
    shop.run_out()
    assert shop.done == ["first", "last"]


def test_text_is_rendered_once_for_all_waiters(shop):
    results: list = []
    for link in ("a", "b", "a"):
        shop.render_queue.blocks(link, "**天**").addCallback(results.append)
    shop.run_out()
    assert results == [("<p><strong>天</strong></p>",)] * 3
    shop.render_queue.blocks("c", "**天**").addCallback(results.append)
    assert len(results) == 4, "the rendering is cached"
    assert shop.jobs == []


def test_text_is_still_rendered_after_one_waiter_cancels(shop):
    shop.run("x", "first")
    cancelled, results = shop.render_queue.blocks("a", "天"), []
    failures(cancelled)
    shop.render_queue.blocks("b", "天").addCallback(results.append)
    cancelled.cancel()
    shop.run_out()
    assert results == [("<p>天</p>",)]


def test_text_abandoned_by_all_waiters_can_be_requested_again(shop):
    shop.run("x", "first")
    cancelled, results = shop.render_queue.blocks("a", "天"), []
    failures(cancelled)
    cancelled.cancel()
    shop.run_out()
    shop.render_queue.blocks("a", "天").addCallback(results.append)
    shop.run_out()
    assert results == [("<p>天</p>",)]


def test_text_is_shown_unrendered_once_the_budget_is_used_up(shop):
    shop.takes_s = BUDGET_S + 1
    results: list = []
    shop.render_queue.blocks("a", "**一**").addCallback(results.append)
    shop.run_out()
    shop.render_queue.blocks("a", "**二** <b>").addCallback(results.append)
    shop.render_queue.blocks("b", "**三**").addCallback(results.append)
    shop.run_out()
    assert results[0] == ("<p><strong>一</strong></p>",)
    assert results[1] == ('<p class="plain">**二** &lt;b&gt;</p>',)
    assert results[2] == ("<p><strong>三</strong></p>",), "each link has its own budget"


def test_a_budget_is_restored_over_time(shop):
    shop.takes_s = BUDGET_S + 1
    shop.render_queue.blocks("a", "一")
    shop.run_out()
    shop.clock.advance(1 / BUDGET_BACK + 1)
    results: list = []
    shop.render_queue.blocks("a", "**二**").addCallback(results.append)
    shop.run_out()
    assert results == [("<p><strong>二</strong></p>",)]


def test_the_queue_is_limited_per_link_and_in_total(shop):
    mine = [shop.run("a", number) for number in range(MAX_WAITING_PER_OWNER + 3)]
    rejections = failures(*mine)
    assert [error.type for error in rejections] == [TooBusy] * 2, "one job is already running"
    others = [shop.run(f"link {number}", number) for number in range(MAX_WAITING)]
    assert len(failures(*others)) == MAX_WAITING_PER_OWNER
    assert shop.render_queue.waiting == MAX_WAITING
    shop.run_out()
    assert shop.render_queue.waiting == 0


def test_a_rejected_rendering_can_be_requested_later(shop):
    mine = [shop.run("a", number) for number in range(MAX_WAITING_PER_OWNER + 1)]
    rejections = failures(shop.render_queue.blocks("a", "天"))
    assert rejections[0].check(TooBusy)
    failures(*mine)
    shop.run_out()
    results: list = []
    shop.render_queue.blocks("a", "天").addCallback(results.append)
    shop.run_out()
    assert results


def test_failed_work_is_reported_and_the_next_job_runs(shop):
    def fail():
        raise ZeroDivisionError

    errors = failures(shop.render_queue.run("a", fail))
    shop.run("b", "next")
    done, _ = shop.jobs.pop(0)
    done.errback(ZeroDivisionError())
    shop.run_out()
    assert errors[0].check(ZeroDivisionError)
    assert shop.done == ["next"]


def test_a_rendering_that_finishes_after_an_erasure_is_forgotten_too(shop):
    shop.render_queue.blocks("a", "天")
    shop.render_queue.forget_all()
    shop.run_out()
    shop.render_queue.blocks("a", "天")
    assert len(shop.jobs) == 1


def test_a_cancelled_waiter_gets_a_cancelled_error(shop):
    cancelled = shop.run("a", "x")
    errors = failures(cancelled)
    cancelled.cancel()
    assert errors[0].check(CancelledError)
    shop.run_out()


@pytest.mark.parametrize("text", ["<b>", "\ud83d", "a\0b", "&lt;"])
def test_unrendered_text_is_harmless(text):
    (block,) = as_written(text)
    assert block.startswith('<p class="plain">')
    assert "<b>" not in block
    block.encode()
