"""Every waiter gets a rendering, whatever happens to the other waiters."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from wxgptd.pages.render_queue import RenderQueue
from wxgptd.pages.rendition import StatusText
from wxgptd.pages.renditions import IN_THREAD_CHARS, MAX_KEPT, Renditions
from wxgptd.ports.pages import AnswerView, Progress


class PageViews:
    """One answer, long enough to be rendered in a thread."""

    text = "一段话。" * IN_THREAD_CHARS

    def owner(self, _token: str) -> str:
        return "alice"

    def answer(self, _token: str) -> AnswerView:
        return AnswerView("问", 0.0, Progress.WRITING, self.text, "", 0, "", 1.0)


class Thread:
    """A thread that does one job when the test calls `do_next`."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred, object]] = []

    def __call__(self, work) -> Deferred:
        done: Deferred = Deferred()
        self.jobs.append((done, work))
        return done

    def do_next(self) -> None:
        done, work = self.jobs.pop(0)
        done.callback(work())


def make_renditions() -> tuple[Renditions, Thread]:
    thread = Thread()
    render_queue = RenderQueue(thread, Clock())
    return Renditions(PageViews(), lambda _: StatusText("正在写"), render_queue), thread


def results(*waiting: Deferred) -> list[list]:
    outcomes: list[list] = [[] for _ in waiting]
    for deferred, outcome in zip(waiting, outcomes, strict=True):
        deferred.addBoth(outcome.append)
    return outcomes


def test_all_waiters_get_the_same_rendering():
    renditions, thread = make_renditions()
    first, second = results(renditions.of("t"), renditions.of("t"))
    thread.do_next()
    (third,) = results(renditions.of("t"))
    assert first == second == third
    assert len(first) == 1
    assert thread.jobs == [], "nothing has changed, so nothing is rendered"


def test_a_failed_rendering_does_not_affect_the_next_one():
    renditions, thread = make_renditions()
    leaving, staying = renditions.of("t"), renditions.of("t")
    left, _ = results(leaving, staying)
    leaving.cancel()
    assert left[0].check(CancelledError)
    thread.jobs.pop(0)[0].errback(MemoryError())
    (again,) = results(renditions.of("t"))
    while thread.jobs:
        thread.do_next()
    assert again


def test_renderings_are_forgotten_on_erasure():
    renditions, thread = make_renditions()
    results(renditions.of("t"))
    thread.do_next()
    renditions.forget_all()
    results(renditions.of("t"))
    assert len(thread.jobs) == 1


def test_an_answer_with_an_audience_is_not_rendered_from_the_start():
    renditions, thread = make_renditions()
    renditions.hold("read")
    results(renditions.of("read"))
    thread.do_next()
    shown = renditions._held["read"].shown
    for number in range(2 * MAX_KEPT):
        results(renditions.of(f"other {number}"))
        while thread.jobs:
            thread.do_next()
    assert len(renditions._answers) == MAX_KEPT
    (again,) = results(renditions.of("read"))
    assert again == [shown]
    assert thread.jobs == []


def test_an_answer_without_an_audience_gives_way_to_others():
    renditions, thread = make_renditions()
    renditions.hold("read")
    renditions.release("read")
    for number in range(MAX_KEPT):
        results(renditions.of(f"other {number}"))
        while thread.jobs:
            thread.do_next()
    results(renditions.of("read"))
    assert len(thread.jobs) == 1


def test_nothing_of_a_user_erased_meanwhile_is_shown():
    class Erased(PageViews):
        gone = False

        def __init__(self) -> None:
            self.written: list[Deferred] = []

        def answer(self, token: str) -> AnswerView | None:
            return None if self.gone else super().answer(token)

        def durable(self) -> Deferred:
            self.written.append(Deferred())
            return self.written[-1]

    thread, views = Thread(), Erased()
    renditions = Renditions(views, lambda _: StatusText("正在写"), RenderQueue(thread, Clock()))
    (shown,) = results(Deferred.fromCoroutine(renditions.durable("t")))
    thread.do_next()
    views.gone = True
    renditions.forget_all()
    views.written.pop().callback(None)
    views.written.pop().callback(None)
    assert shown == [None]
