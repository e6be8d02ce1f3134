"""Serve the pages: a complete one at once, then what comes, as events or to whoever polls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as WaitedLongEnough
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from wxgptd.domain.texts import Texts
from wxgptd.errors import WxgptError
from wxgptd.pages import html, links
from wxgptd.ports import AnswerView, Dialogue, Library, Progress, Turn

log = Logger()

Blocks = tuple[str, ...]
Rendered = list[Blocks]
InThread = Callable[[Callable[[], Rendered]], Deferred[Rendered]]
"""Run a function where it does not hold up the reactor."""

UPDATE_EVERY_S = 0.3
"""A reader sees no difference to more often, and each update is a rendering."""

HEARTBEAT_S = 12.0
"""Proxies and phones drop connections on which nothing comes for longer."""

STALLED_S = 60.0
"""A reader who takes nothing for so long is gone, or means harm."""

POLL_FOR_S = 20.0
RENDER_IN_THREAD_CHARS = 4_000

_HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}

_STATIC = Path(__file__).parent / "static"
_STATIC_TYPES = {
    "icon.svg": "image/svg+xml",
    "live.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}


class Pages:
    """What all pages share: the library, the texts, and how text becomes HTML."""

    def __init__(
        self,
        library: Library,
        texts: Texts,
        *,
        clock: IReactorTime,
        in_thread: InThread,
        ready: Callable[[], bool],
        root: str = "",
    ) -> None:
        self.library = library
        self.texts = texts
        self.clock = clock
        self.ready = ready
        self._in_thread = in_thread
        self._environment = Environment(
            loader=PackageLoader("wxgptd.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        contents = b"".join((_STATIC / name).read_bytes() for name in sorted(_STATIC_TYPES))
        self._shared = {
            "texts": texts,
            "root": root,
            "version": sha256(contents).hexdigest()[:8],
        }

    def resources(self) -> dict[bytes, Resource]:
        """Return the resources by the first segment of their paths."""
        return {
            b"a": _Tokens(self, lambda token: AnswerPage(self, token)),
            b"h": _Tokens(self, lambda token: HistoryPage(self, token)),
            b"static": _Static(),
        }

    def render(self, template: str, **values: object) -> bytes:
        """Return a page's bytes."""
        page = self._environment.get_template(template)
        return page.render(**self._shared, **values).encode("utf-8", "replace")

    async def blocks(self, text: str) -> Blocks:
        """Return `text` as the HTML of its blocks."""
        (blocks,) = await self.all_blocks([text])
        return blocks

    async def all_blocks(self, texts: Sequence[str]) -> Rendered:
        """Return each of `texts` as the HTML of its blocks."""

        def render() -> Rendered:
            return [html.blocks(text) for text in texts]

        if sum(map(len, texts)) < RENDER_IN_THREAD_CHARS:
            return render()
        return await self._in_thread(render)

    def status(self, progress: Progress, failure: str) -> str:
        """Return the sentence about how far an answer is."""
        if progress is Progress.FAILED:
            return failure
        return str(getattr(self.texts, f"page_{progress}"))

    def gone(self, request: Request) -> bytes:
        """Answer for a link that leads nowhere, whatever the reason."""
        request.setResponseCode(404)
        return self.render("word.html", title=self.texts.page_title, word=self.texts.page_gone)


def _prepare(request: Request, content_type: str) -> None:
    for name, value in _HEADERS.items():
        request.setHeader(name, value)
    request.setHeader("Content-Type", content_type)


def _serve(request: Request, work: Deferred[None]) -> int:
    """Let `work` write the response; cancel it when the reader leaves."""
    left: list[bool] = []

    def leave(_: Failure) -> None:
        left.append(True)
        work.cancel()

    def finish(result: object) -> None:
        if isinstance(result, Failure) and not result.check(CancelledError):
            if result.check(WxgptError):
                log.error("a page could not be served: {error}", error=result.value)
            else:
                log.failure("a page could not be served", result)
            if not left:
                request.loseConnection()
        elif not left:
            request.finish()

    request.notifyFinish().addErrback(leave)
    work.addBoth(finish)
    return NOT_DONE_YET


class _Tokens(Resource):
    """The level on which a token is a name."""

    def __init__(self, pages: Pages, page: Callable[[str], Resource]) -> None:
        super().__init__()
        self._pages = pages
        self._page = page

    def getChild(self, path: bytes, request: Request) -> Resource:
        if not self._pages.ready():
            return _Starting(self._pages)
        return self._page(path.decode("ascii", "replace"))


class _Starting(Resource):
    """What there is to read while the log is replayed: come again in a moment."""

    isLeaf = True

    def __init__(self, pages: Pages) -> None:
        super().__init__()
        self._pages = pages

    def render_GET(self, request: Request) -> bytes:
        _prepare(request, "text/html; charset=utf-8")
        request.setResponseCode(503)
        request.setHeader("Retry-After", "2")
        request.setHeader("Refresh", "2")
        texts = self._pages.texts
        return self._pages.render("word.html", title=texts.page_title, word=texts.page_starting)


class _Static(Resource):
    """The style sheet, the script and the icon, from the package."""

    def getChild(self, path: bytes, request: Request) -> IResource:
        name = path.decode("ascii", "replace")
        return _File(name) if name in _STATIC_TYPES else notFound()


class _File(Resource):
    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", _STATIC_TYPES[self._name])
        request.setHeader("Cache-Control", "public, max-age=31536000, immutable")
        request.setHeader("X-Content-Type-Options", "nosniff")
        return (_STATIC / self._name).read_bytes()


class AnswerPage(Resource):
    """`/a/TOKEN`, and below it `events` and `poll`."""

    def __init__(self, pages: Pages, token: str) -> None:
        super().__init__()
        self._pages = pages
        self._token = token

    def getChild(self, path: bytes, request: Request) -> IResource:
        match path:
            case b"events":
                return _Events(self._pages, self._token)
            case b"poll":
                return _Poll(self._pages, self._token)
            case b"":
                return self
            case _:
                return notFound()

    def render_GET(self, request: Request) -> bytes | int:
        """Serve the answer as it stands, complete and readable without a script."""
        _prepare(request, "text/html; charset=utf-8")
        view = _find(self._pages, self._token)
        if view is None:
            return self._pages.gone(request)
        if request.method == b"GET":
            self._pages.library.opened(self._token)
        return _serve(request, Deferred.fromCoroutine(self._write(request, view)))

    async def _write(self, request: Request, view: AnswerView) -> None:
        pages = self._pages
        blocks = await pages.blocks(view.text)
        page = pages.render(
            "answer.html",
            title=pages.texts.page_title,
            question=view.question,
            blocks=[Markup(block) for block in blocks],  # noqa: S704 (sanitised by nh3)
            position=_position(view, blocks),
            progress=view.progress.value,
            status=pages.status(view.progress, view.failure),
            final=view.progress.final,
            token=self._token,
        )
        await pages.library.durable()
        request.write(page)


def _find(pages: Pages, token: str) -> AnswerView | None:
    return pages.library.answer(token) if links.well_formed(token) else None


def _position(view: AnswerView, blocks: Blocks) -> str:
    """Return what a reader who has seen this need not be sent again.

    How often the answer has begun anew, how many blocks are settled (all but the last, which may
    grow) and a digest of them, how far the text was, and how far the answer.
    """
    settled = len(blocks) if view.progress.final else max(0, len(blocks) - 1)
    digest = _digest(blocks[:settled])
    return f"{view.generation}.{settled}.{digest}.{len(view.text)}.{view.progress}"


def _digest(blocks: Blocks) -> str:
    return f"{crc32(chr(0).join(blocks).encode('utf-8', 'replace')):08x}"


def _update(pages: Pages, view: AnswerView, blocks: Blocks, seen: str) -> dict[str, Any]:
    """Return what brings a reader who has seen `seen` up to date.

    A block that later text has changed (a link defined further down) is sent again with all that
    follow it: the reader's digest does not fit then.
    """
    generation, settled, digest, *_ = *seen.split("."), "", "", ""
    begin = min(_number(settled), len(blocks)) if generation == str(view.generation) else 0
    if _digest(blocks[:begin]) != digest:
        begin = 0
    return {
        "position": _position(view, blocks),
        "from": begin,
        "blocks": blocks[begin:],
        "progress": view.progress.value,
        "status": pages.status(view.progress, view.failure),
        "final": view.progress.final,
    }


def _number(text: str) -> int:
    """Return the number that `text` is, or 0: it comes from whoever has the link."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


def _asked_from(request: Request) -> str:
    """Return the position that the reader has seen."""
    resumed = request.getHeader("last-event-id")
    if resumed:
        return str(resumed)[:64].encode("ascii", "replace").decode("ascii")
    values: list[bytes] = request.args.get(b"position", [b""])
    return values[0].decode("ascii", "replace")[:64]


class _Events(Resource):
    """The answer as server-sent events."""

    isLeaf = True

    def __init__(self, pages: Pages, token: str) -> None:
        super().__init__()
        self._pages = pages
        self._token = token

    def render_GET(self, request: Request) -> bytes | int:
        """Send what the reader has not seen, then each change, until the answer is final."""
        _prepare(request, "text/event-stream; charset=utf-8")
        request.setHeader("X-Accel-Buffering", "no")
        if _find(self._pages, self._token) is None:
            request.setResponseCode(404)
            return b""
        return _serve(request, Deferred.fromCoroutine(self._stream(request)))

    async def _stream(self, request: Request) -> None:
        pages, seen = self._pages, _asked_from(request)
        flow = _Flow(pages.clock)
        request.registerProducer(flow, streaming=True)
        try:
            await self._send(request, flow, seen)
        except WaitedLongEnough:
            # Somebody who has the link and takes nothing of it: not worth the memory.
            request.channel.forceAbortClient()
        finally:
            request.unregisterProducer()

    async def _send(self, request: Request, flow: _Flow, seen: str) -> None:
        pages = self._pages
        request.write(b"retry: 2000\n\n")
        sent = ""
        while True:
            await flow.drained()
            view = _find(pages, self._token)
            if view is None:
                return
            changed = pages.library.changed(self._token)
            blocks = await pages.blocks(view.text)
            update = _update(pages, view, blocks, seen)
            position = str(update["position"])
            if position != sent:
                await pages.library.durable()
                data = json.dumps(update, ensure_ascii=False)
                event = f"id: {position}\nevent: update\ndata: {data}\n\n"
                request.write(event.encode("utf-8", "replace"))
                sent = seen = position
            if view.progress.final:
                return
            await deferLater(pages.clock, UPDATE_EVERY_S)
            await self._until(changed, request, flow)

    async def _until(self, changed: Deferred[None], request: Request, flow: _Flow) -> None:
        """Wait for a change, with a comment now and then that keeps the connection alive."""
        while True:
            try:
                await changed.addTimeout(HEARTBEAT_S, self._pages.clock)
                return
            except WaitedLongEnough:
                await flow.drained()
                request.write(b": still here\n\n")
                changed = self._pages.library.changed(self._token)


@implementer(IPushProducer)
class _Flow:
    """Tells whether the reader takes what is written: what is not taken is not added to.

    Updates are made when they can be sent, so a slow reader gets fewer of them, each complete.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: Deferred[None] | None = None
        self._paused = False

    def drained(self) -> Deferred[None]:
        """Fire when more can be written.

        Errs:
            TimeoutError: nothing was taken for too long.
        """
        if not self._paused:
            return succeed(None)
        self._waiting = Deferred()
        return self._waiting.addTimeout(STALLED_S, self._clock)

    def pauseProducing(self) -> None:
        """Note that the reader is behind."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Note that the reader has caught up."""
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """Nothing: that the reader has left is told elsewhere."""


class _Poll(Resource):
    """The answer for readers whose network swallows events: one update a request."""

    isLeaf = True

    def __init__(self, pages: Pages, token: str) -> None:
        super().__init__()
        self._pages = pages
        self._token = token

    def render_GET(self, request: Request) -> bytes | int:
        """Send one update as soon as there is something that the reader has not seen."""
        _prepare(request, "application/json; charset=utf-8")
        if _find(self._pages, self._token) is None:
            request.setResponseCode(404)
            return b"{}"
        return _serve(request, Deferred.fromCoroutine(self._write(request)))

    async def _write(self, request: Request) -> None:
        pages, seen = self._pages, _asked_from(request)
        view = _find(pages, self._token)
        assert view is not None
        changed = pages.library.changed(self._token)
        if _position(view, await pages.blocks(view.text)) == seen and not view.progress.final:
            try:
                await changed.addTimeout(POLL_FOR_S, pages.clock)
                await deferLater(pages.clock, UPDATE_EVERY_S)
            except WaitedLongEnough:
                pass
            view = _find(pages, self._token)
            if view is None:
                request.setResponseCode(404)
                request.write(b"{}")
                return
        else:
            changed.addErrback(lambda _: None)
            changed.cancel()
        update = _update(pages, view, await pages.blocks(view.text), seen)
        await pages.library.durable()
        request.write(json.dumps(update, ensure_ascii=False).encode("utf-8", "replace"))


class HistoryPage(Resource):
    """`/h/TOKEN`"""

    isLeaf = True

    def __init__(self, pages: Pages, token: str) -> None:
        super().__init__()
        self._pages = pages
        self._token = token

    def render_GET(self, request: Request) -> bytes | int:
        """Serve one page of the user's sessions."""
        _prepare(request, "text/html; charset=utf-8")
        number = _number(request.args.get(b"page", [b"1"])[0].decode("ascii", "replace"))
        known = links.well_formed(self._token) and not request.postpath
        view = self._pages.library.history(self._token, number) if known else None
        if view is None:
            return self._pages.gone(request)
        write = self._write(request, view.dialogues, view.page, view.pages)
        return _serve(request, Deferred.fromCoroutine(write))

    async def _write(
        self, request: Request, dialogues: tuple[Dialogue, ...], page: int, pages: int
    ) -> None:
        answers = [turn.answer for dialogue in dialogues for turn in dialogue.turns]
        rendered = iter(await self._pages.all_blocks(answers))
        shown = [self._dialogue(dialogue, rendered) for dialogue in dialogues]
        title = self._pages.texts.history_title
        await self._pages.library.durable()
        request.write(
            self._pages.render("history.html", title=title, dialogues=shown, page=page, pages=pages)
        )

    def _dialogue(self, dialogue: Dialogue, rendered: Iterator[Blocks]) -> dict[str, object]:
        return {
            "opened": _local(dialogue.opened_at),
            "assistant": dialogue.assistant,
            "ended": dialogue.ended,
            "turns": [self._turn(turn, next(rendered)) for turn in dialogue.turns],
        }

    def _turn(self, turn: Turn, blocks: Blocks) -> dict[str, object]:
        texts = self._pages.texts
        match turn.progress:
            case Progress.DONE | Progress.CUT_SHORT:
                status = ""
            case Progress.FAILED:
                status = turn.failure or texts.history_unanswered
            case Progress.INTERRUPTED:
                status = texts.page_interrupted
            case _:
                status = texts.history_running
        return {
            "question": turn.question,
            "blocks": [Markup(block) for block in blocks],  # noqa: S704 (sanitised by nh3)
            "status": status,
        }


def _local(at: float) -> str:
    """Return a time as the machine's own zone has it, which is its users' as a rule."""
    local = datetime.fromtimestamp(at, UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M")
