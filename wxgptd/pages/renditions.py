"""Render each answer once for all its readers, outside the reactor's thread if it is long."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred

from wxgptd.pages.code import forget_all as forget_code
from wxgptd.pages.document import Blocks, Document
from wxgptd.pages.render_queue import RenderQueue, as_written
from wxgptd.pages.rendition import Rendition, StatusText, rendition
from wxgptd.ports.pages import AnswerView, PageViews

IN_THREAD_CHARS = 2_000
"""Rendering more takes about ten milliseconds, during which WeChat would have to wait."""

MAX_KEPT = 256
MAX_KEPT_CHARS = 8_000_000


@dataclass(eq=False, slots=True)
class _Answer:
    """One answer, its latest rendition, and the waiters for the next one."""

    document: Document = field(default_factory=Document)
    shown: Rendition | None = None
    waiting: list[Deferred[Rendition | None]] = field(default_factory=list)
    served: list[Deferred[Rendition | None]] = field(default_factory=list)
    """The waiters for the rendering in progress, `work`."""
    work: Deferred[Rendition | None] | None = None
    busy: bool = False

    def abandoned(self) -> bool:
        """Return whether no waiters are left."""
        return not self.waiting and all(waiter.called for waiter in self.served)


class Renditions:
    """The answers with current or recent readers, by link token."""

    def __init__(
        self,
        page_views: PageViews,
        say: Callable[[AnswerView], StatusText],
        render_queue: RenderQueue,
    ) -> None:
        self._page_views = page_views
        self._say = say
        self._render_queue = render_queue
        self._pace = render_queue.pace
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self.erasures = 0
        """How often all renditions were dropped."""
        self._held: dict[str, _Answer] = {}
        """The answers that have an audience."""

    def of(self, token: str) -> Deferred[Rendition | None]:
        """Fire with the current rendition of the answer behind `token`, or None if there is none.

        Callers that arrive during a rendering share the next one.
        """
        answer = self._held.get(token) or self._recent(token)

        def leave(cancelled: Deferred[Rendition | None]) -> None:
            if cancelled in answer.waiting:
                answer.waiting.remove(cancelled)
            cancelled.errback(CancelledError())
            if answer.work is not None and answer.abandoned():
                answer.work.cancel()

        waiter: Deferred[Rendition | None] = Deferred(leave)
        answer.waiting.append(waiter)
        if not answer.busy:
            answer.busy = True
            Deferred.fromCoroutine(self._serve(token, answer))
        return waiter

    async def durable(self, token: str) -> Rendition | None:
        """Return the current rendition once everything in it is durable, or None if there is none.

        If a user was erased meanwhile, which may be this one, it is rendered again.
        """
        while True:
            erasures = self.erasures
            rendition = await self.of(token)
            await self._page_views.durable()
            if self.erasures == erasures:
                return rendition

    def _recent(self, token: str) -> _Answer:
        answer = self._answers.get(token)
        if answer is None:
            answer = self._answers[token] = _Answer()
            self._evict()
        else:
            self._answers.move_to_end(token)
        return answer

    def hold(self, token: str) -> None:
        """Keep the answer's rendition: it has an audience, and is not to start over."""
        if token not in self._held:
            self._held[token] = self._answers.pop(token, _Answer())

    def release(self, token: str) -> None:
        """Keep the answer only as long as there is room: its audience has gone."""
        answer = self._held.pop(token, None)
        if answer is not None:
            self._answers[token] = answer
            self._evict()

    async def _serve(self, token: str, answer: _Answer) -> None:
        while answer.waiting:
            answer.served, answer.waiting = answer.waiting, []
            answer.work = Deferred.fromCoroutine(self._render(token, answer))
            try:
                shown = await answer.work
            except CancelledError:
                answer.work = None
                answer.document = Document()  # a thread may still be using the old one
                continue
            except Exception as error:  # noqa: BLE001 (every waiter gets it)
                answer.work = None
                for waiter in answer.served:
                    if not waiter.called:  # unless it was cancelled in the meantime
                        waiter.errback(error)
                continue
            answer.work = None
            for waiter in answer.served:
                if not waiter.called:
                    waiter.callback(shown)
        answer.served = []
        answer.busy = False

    def forget_all(self) -> None:
        """Drop all renditions, which may hold the words of a user who was erased."""
        self._answers.clear()
        self._held = {token: _Answer() for token in self._held}
        self.erasures += 1
        self._render_queue.forget_all()
        forget_code()

    async def _render(self, token: str, answer: _Answer) -> Rendition | None:
        view, former = self._page_views.answer(token), answer.shown
        if view is None:
            answer.shown = None
            return None
        if former is not None and former.view == view:
            return former
        if former is not None and former.view.text == view.text:
            blocks = former.blocks
        elif view.progress.final and former is None:
            blocks = await self._render_queue.blocks(self._page_views.owner(token), view.text)
        else:
            blocks = await self._updated(token, answer.document, view.text)
        with self._pace.spending():
            answer.shown = rendition(view, self._say(view), blocks, former)
        if view.progress.final:
            answer.document = Document()  # no longer needed
        return answer.shown

    async def _updated(self, token: str, document: Document, text: str) -> Blocks:
        if document.work(text) < IN_THREAD_CHARS:
            with self._pace.spending():
                return document.update(text)
        owner = self._page_views.owner(token)
        if self._render_queue.left_s(owner) <= 0:
            return as_written(text)
        blocks, took_s = await self._render_queue.run(owner, lambda: self._timed(document, text))
        self._pace.spent(took_s)
        return blocks

    def _timed(self, document: Document, text: str) -> tuple[Blocks, float]:
        began = self._pace.cpu_s()
        return document.update(text), self._pace.cpu_s() - began

    def _evict(self) -> None:
        """Drop the least recently used answers if there are too many or they are too large."""
        size = sum(map(_size, self._answers.values()))
        while len(self._answers) > MAX_KEPT or size > MAX_KEPT_CHARS:
            _, dropped = self._answers.popitem(last=False)
            size -= _size(dropped)
            if not self._answers:
                return


def _size(answer: _Answer) -> int:
    shown = answer.shown
    return sum(map(len, shown.blocks)) + len(shown.view.thoughts) if shown is not None else 0
