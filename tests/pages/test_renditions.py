"""Who waits for a rendering gets one, whatever becomes of the others who wait."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from wxgptd.pages.rendition import Sentences
from wxgptd.pages.renditions import IN_THREAD_CHARS, Renditions
from wxgptd.pages.workshop import Workshop
from wxgptd.ports.pages import AnswerView, Progress


class PageViews:
    """One answer, too long to be rendered at once."""

    text = "一段话。" * IN_THREAD_CHARS

    def owner(self, _token: str) -> str:
        return "alice"

    def answer(self, _token: str) -> AnswerView:
        return AnswerView("问", 0.0, Progress.WRITING, self.text, "", 0, "", 1.0)


class Thread:
    """Work that is done when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred, object]] = []

    def __call__(self, work) -> Deferred:
        done: Deferred = Deferred()
        self.jobs.append((done, work))
        return done

    def do_next(self) -> None:
        done, work = self.jobs.pop(0)
        done.callback(work())


def renditions() -> tuple[Renditions, Thread]:
    thread = Thread()
    workshop = Workshop(thread, Clock())
    return Renditions(PageViews(), lambda _: Sentences("正在写"), workshop), thread


def results(*waiting: Deferred) -> list[list]:
    found: list[list] = [[] for _ in waiting]
    for one, results in zip(waiting, found, strict=True):
        one.addBoth(results.append)
    return found


def test_all_who_wait_get_the_same_rendering():
    made, thread = renditions()
    first, second = results(made.of("t"), made.of("t"))
    thread.do_next()
    (third,) = results(made.of("t"))
    assert first == second == third
    assert len(first) == 1
    assert thread.jobs == [], "nothing has changed, so there is nothing to do"


def test_a_rendering_that_fails_is_told_to_those_who_are_still_there_and_the_next_one_works():
    made, thread = renditions()
    leaving, staying = made.of("t"), made.of("t")
    left, _ = results(leaving, staying)
    leaving.cancel()
    assert left[0].check(CancelledError)
    thread.jobs.pop(0)[0].errback(MemoryError())
    (again,) = results(made.of("t"))
    while thread.jobs:
        thread.do_next()
    assert again


def test_who_is_erased_is_rendered_no_more():
    made, thread = renditions()
    results(made.of("t"))
    thread.do_next()
    made.forget_all()
    results(made.of("t"))
    assert len(thread.jobs) == 1
