"""Work for pages: in turn by link, once for all who want it, and within a budget."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from wxgptd.pages.workshop import (
    BUDGET_BACK,
    BUDGET_S,
    MAX_WAITING,
    MAX_WAITING_PER_OWNER,
    TooBusy,
    Workshop,
    as_written,
)


class Shop:
    """A workshop whose thread does one piece of work when the test says so; each takes a while."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.jobs: list[tuple[Deferred, object]] = []
        self.cpu = 0.0
        self.takes_s = 0.0
        self.done: list[object] = []
        self.workshop = Workshop(self._in_thread, self.clock, self._thread_time)

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
        return self.workshop.run(link, lambda: self.done.append(name) or name)


@pytest.fixture
def shop():
    return Shop()


def failures(*waiting: Deferred) -> list:
    found: list = []
    for one in waiting:
        one.addErrback(found.append)
    return found


def test_links_take_turns(shop):
    for number in range(5):
        shop.run("greedy", f"greedy {number}")
    shop.run("modest", "modest 0")
    shop.run_out()
    assert shop.done[:3] == ["greedy 0", "greedy 1", "modest 0"]


def test_one_piece_of_work_is_done_at_a_time(shop):
    for number in range(4):
        shop.run(f"link {number}", number)
    assert len(shop.jobs) == 1


def test_what_nobody_waits_for_is_not_begun(shop):
    shop.run("a", "first")
    leaving = [shop.run("a", f"abandoned {number}") for number in range(10)]
    failures(*leaving)
    for one in leaving:
        one.cancel()
    shop.run("a", "last")
    shop.run_out()
    assert shop.done == ["first", "last"]


def test_a_text_is_rendered_once_for_all_who_want_it(shop):
    found: list = []
    for link in ("a", "b", "a"):
        shop.workshop.blocks(link, "**天**").addCallback(found.append)
    shop.run_out()
    assert found == [("<p><strong>天</strong></p>",)] * 3
    shop.workshop.blocks("c", "**天**").addCallback(found.append)
    assert len(found) == 4, "it was kept"
    assert shop.jobs == []


def test_a_text_that_one_reader_gave_up_is_rendered_for_the_others(shop):
    shop.run("x", "first")
    leaving, found = shop.workshop.blocks("a", "天"), []
    failures(leaving)
    shop.workshop.blocks("b", "天").addCallback(found.append)
    leaving.cancel()
    shop.run_out()
    assert found == [("<p>天</p>",)]


def test_what_all_gave_up_can_be_asked_for_again(shop):
    shop.run("x", "first")
    leaving, found = shop.workshop.blocks("a", "天"), []
    failures(leaving)
    leaving.cancel()
    shop.run_out()
    shop.workshop.blocks("a", "天").addCallback(found.append)
    shop.run_out()
    assert found == [("<p>天</p>",)]


def test_a_link_without_budget_is_shown_texts_as_they_were_written(shop):
    shop.takes_s = BUDGET_S + 1
    found: list = []
    shop.workshop.blocks("a", "**一**").addCallback(found.append)
    shop.run_out()
    shop.workshop.blocks("a", "**二** <b>").addCallback(found.append)
    shop.workshop.blocks("b", "**三**").addCallback(found.append)
    shop.run_out()
    assert found[0] == ("<p><strong>一</strong></p>",)
    assert found[1] == ('<p class="plain">**二** &lt;b&gt;</p>',)
    assert found[2] == ("<p><strong>三</strong></p>",), "another link has its own"


def test_a_budget_comes_back_with_time(shop):
    shop.takes_s = BUDGET_S + 1
    shop.workshop.blocks("a", "一")
    shop.run_out()
    shop.clock.advance(1 / BUDGET_BACK + 1)
    found: list = []
    shop.workshop.blocks("a", "**二**").addCallback(found.append)
    shop.run_out()
    assert found == [("<p><strong>二</strong></p>",)]


def test_the_line_is_bounded_for_each_link_and_in_all(shop):
    mine = [shop.run("a", number) for number in range(MAX_WAITING_PER_OWNER + 3)]
    refused = failures(*mine)
    assert [one.type for one in refused] == [TooBusy] * 2, "one is at work"
    others = [shop.run(f"link {number}", number) for number in range(MAX_WAITING)]
    assert len(failures(*others)) == MAX_WAITING_PER_OWNER
    assert shop.workshop.waiting == MAX_WAITING
    shop.run_out()
    assert shop.workshop.waiting == 0


def test_a_rendering_that_is_refused_can_be_asked_for_later(shop):
    mine = [shop.run("a", number) for number in range(MAX_WAITING_PER_OWNER + 1)]
    refused = failures(shop.workshop.blocks("a", "天"))
    assert refused[0].check(TooBusy)
    failures(*mine)
    shop.run_out()
    found: list = []
    shop.workshop.blocks("a", "天").addCallback(found.append)
    shop.run_out()
    assert found


def test_work_that_fails_is_told_and_the_next_goes_on(shop):
    def fail():
        raise ZeroDivisionError

    told = failures(shop.workshop.run("a", fail))
    shop.run("b", "next")
    done, _ = shop.jobs.pop(0)
    done.errback(ZeroDivisionError())
    shop.run_out()
    assert told[0].check(ZeroDivisionError)
    assert shop.done == ["next"]


def test_what_was_rendered_of_an_erased_user_is_forgotten_also_if_it_comes_later(shop):
    shop.workshop.blocks("a", "天")
    shop.workshop.forget_all()
    shop.run_out()
    shop.workshop.blocks("a", "天")
    assert len(shop.jobs) == 1


def test_who_gives_up_is_told_so(shop):
    leaving = shop.run("a", "x")
    told = failures(leaving)
    leaving.cancel()
    assert told[0].check(CancelledError)
    shop.run_out()


@pytest.mark.parametrize("text", ["<b>", "\ud83d", "a\0b", "&lt;"])
def test_a_text_that_is_not_rendered_is_harmless(text):
    (block,) = as_written(text)
    assert block.startswith('<p class="plain">')
    assert "<b>" not in block
    block.encode()
