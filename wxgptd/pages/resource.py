"""Where the pages are: `/a/TOKEN`, `/h/TOKEN` and what they are made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from markupsafe import Markup
from twisted.internet.defer import Deferred
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from wxgptd.domain.texts import history_dropped
from wxgptd.pages import links
from wxgptd.pages.live import Events, Poll, number, position_of
from wxgptd.pages.serving import STATIC, STATIC_TYPES, Blocks, Linked, Pages, find, prepare, serve
from wxgptd.ports import AnswerView, Dialogue, HistoryView, Progress, Turn


def resources(pages: Pages) -> dict[bytes, Resource]:
    """Return the resources by the first segment of their paths."""
    return {
        b"a": _Tokens(pages, lambda token: AnswerPage(pages, token)),
        b"h": _Tokens(pages, lambda token: HistoryPage(pages, token)),
        b"static": _Static(),
    }


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
        prepare(request, "text/html; charset=utf-8")
        request.setResponseCode(503)
        request.setHeader("Retry-After", "2")
        request.setHeader("Refresh", "2")
        texts = self._pages.texts
        return self._pages.render("word.html", title=texts.page_title, word=texts.page_starting)


class _Static(Resource):
    """The style sheet, the script and the icon, from the package."""

    def getChild(self, path: bytes, request: Request) -> IResource:
        name = path.decode("ascii", "replace")
        return _File(name) if name in STATIC_TYPES else notFound()


class _File(Resource):
    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", STATIC_TYPES[self._name])
        request.setHeader("Cache-Control", "public, max-age=31536000, immutable")
        request.setHeader("X-Content-Type-Options", "nosniff")
        return (STATIC / self._name).read_bytes()


class AnswerPage(Linked):
    """`/a/TOKEN`, and below it `events` and `poll`."""

    def getChild(self, path: bytes, request: Request) -> IResource:
        match path:
            case b"events":
                return Events(self._pages, self._token)
            case b"poll":
                return Poll(self._pages, self._token)
            case b"":
                return self
            case _:
                return notFound()

    def render_GET(self, request: Request) -> bytes | int:
        """Serve the answer as it stands, complete and readable without a script."""
        prepare(request, "text/html; charset=utf-8")
        view = find(self._pages, self._token)
        if view is None:
            return self._pages.gone(request)
        if request.method == b"GET":
            self._pages.library.opened(self._token)
        return serve(request, Deferred.fromCoroutine(self._write(request, view)))

    async def _write(self, request: Request, view: AnswerView) -> None:
        pages = self._pages
        blocks = await pages.blocks(view.text)
        page = pages.render(
            "answer.html",
            title=pages.texts.page_title,
            question=view.question,
            blocks=[Markup(block) for block in blocks],  # noqa: S704 (sanitised by nh3)
            position=position_of(view, blocks),
            progress=view.progress.value,
            status=pages.status(view.progress, view.failure),
            final=view.progress.final,
            token=self._token,
        )
        await pages.library.durable()
        request.write(page)


class HistoryPage(Linked):
    """`/h/TOKEN`"""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes | int:
        """Serve one page of the user's sessions."""
        prepare(request, "text/html; charset=utf-8")
        page = number(request.args.get(b"page", [b"1"])[0].decode("ascii", "replace"))
        known = links.well_formed(self._token) and not request.postpath
        view = self._pages.library.history(self._token, page) if known else None
        if view is None:
            return self._pages.gone(request)
        return serve(request, Deferred.fromCoroutine(self._write(request, view)))

    async def _write(self, request: Request, view: HistoryView) -> None:
        texts = self._pages.texts
        answers = [turn.answer for dialogue in view.dialogues for turn in dialogue.turns]
        rendered = iter(await self._pages.all_blocks(answers))
        ends = view.since and view.page == view.pages
        await self._pages.library.durable()
        request.write(
            self._pages.render(
                "history.html",
                title=texts.history_title,
                dialogues=[self._dialogue(dialogue, rendered) for dialogue in view.dialogues],
                page=view.page,
                pages=view.pages,
                dropped=history_dropped(_day(view.since), texts) if ends else "",
            )
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


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d}"


def _local(at: float) -> str:
    """Return a time as the machine's own zone has it, which is its users' as a rule."""
    local = datetime.fromtimestamp(at, UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M")
