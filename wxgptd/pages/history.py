"""A user's own history: browse, search, download and erase it."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from html import escape
from itertools import islice
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode

from markupsafe import Markup
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource
from twisted.web.server import Request

from wxgptd.domain.replies import wording
from wxgptd.pages import aigc, times
from wxgptd.pages.document import Blocks
from wxgptd.pages.download import as_markdown, note
from wxgptd.pages.limits import CHANGE, DOWNLOAD, HISTORY, SEARCH, Allowance
from wxgptd.pages.render_queue import as_written
from wxgptd.pages.rendition import number
from wxgptd.pages.search import mark, words_of
from wxgptd.pages.serving import HTML, LinkedResource, Pages, pack, prepare, send, serve
from wxgptd.pages.shares import Share, listed
from wxgptd.pages.site import NotFound
from wxgptd.pages.writing import cookies_of, write_resource
from wxgptd.ports.page_writing import PageWriting
from wxgptd.ports.pages import Dialogue, History, HistoryView, Turn

PARAGRAPHS_AT_ONCE = 60

PAGE_BUDGET_S = 1.0
"""CPU time for rendering the answers of one page; the rest are shown unrendered."""

MAX_QUERY_CHARS = 200
MAX_FORM_BYTES = 1_024


class _OfHistory(LinkedResource):
    """A resource reached through a link to a history."""

    def _history(self) -> History | None:
        return self._pages.page_views.history(self._token)

    def _over_limit(self, request: Request, allowance: Allowance) -> bytes | None:
        """Use up one request; return an error page if the request must be rejected.

        This comes before any lookup, so that a rejected request costs next to nothing.
        """
        owner = self._owner
        if not owner:
            return self._pages.gone(request)
        return self._pages.over_limit(request, owner, allowance)


class _Wanted(NamedTuple):
    """What a request wants to see: a page of the list, of a search, or of one session."""

    page: int
    query: str
    session: str

    def view(self, history: History) -> HistoryView:
        """Return that page of `history`."""
        if self.query:
            return history.found(self.page, words_of(self.query))
        if self.session:
            return history.session(self.page, self.session)
        return history.page(self.page)

    def address(self, page: int) -> str:
        """Return the query string of another page of the same."""
        more = {"q": self.query} if self.query else {"session": self.session}
        return "?" + urlencode({"page": page, **{k: v for k, v in more.items() if v}})


class _Own(NamedTuple):
    """What only a reader who may write sees: the form token, and the links to shared turns."""

    form: str
    shares: Sequence[Share]


class HistoryPage(_OfHistory):
    """`/h/TOKEN`, and below it `download`, `erase` and what is written on the page."""

    def __init__(self, pages: Pages, writing: PageWriting, token: str) -> None:
        super().__init__(pages, token)
        self._writing = writing

    def getChild(self, path: bytes, request: Request) -> IResource:
        match path:
            case b"download":
                return Download(self._pages, self._token)
            case b"erase":
                return Erase(self._pages, self._token)
            case b"":
                return self
            case _:
                posts = write_resource(self._pages, self._writing, self._token, path)
                return posts or NotFound(self._pages)

    def render_GET(self, request: Request) -> bytes | int:
        """Serve one page of the user's sessions, of one session, or of the search results."""
        prepare(request, HTML, forms=True)
        wanted = _wanted(request)
        if response := self._over_limit(request, SEARCH if wanted.query else HISTORY):
            return response
        history = self._history()
        if history is None:
            return self._pages.gone(request)
        work = self._write(request, history, wanted)
        return serve(self._pages, request, Deferred.fromCoroutine(work))

    async def _write(self, request: Request, history: History, wanted: _Wanted) -> None:
        pages, words, cookies = self._pages, words_of(wanted.query), cookies_of(request)
        view = await pages.render_queue.run(
            self._owner, lambda: wanted.view(history), costly=bool(words)
        )
        if wanted.session and not view.dialogues:  # it has been deleted
            request.write(pages.gone(request))
            return
        rendered = await self._rendered(view)
        own = _Own(
            self._writing.form_token(self._token, cookies),
            listed(pages, self._writing.sharing, self._token, cookies),
        )

        def make() -> tuple[bytes, bytes]:
            page = self._page(view, rendered, wanted, own)
            return page, pack(page)

        page, packed = await pages.render_queue.run(self._owner, make)
        await pages.page_views.durable()
        await send(pages, self._owner, request, page, packed)

    async def _rendered(self, view: HistoryView) -> dict[str, Blocks]:
        """Render the answers of a page one by one until its budget is used up."""
        render_queue, rendered = self._pages.render_queue, dict[str, Blocks]()
        left_s = render_queue.left_s(self._owner) - PAGE_BUDGET_S
        for turn in (turn for dialogue in view.dialogues for turn in dialogue.turns):
            if render_queue.left_s(self._owner) < left_s:
                rendered[turn.answer] = as_written(turn.answer)
            else:
                rendered[turn.answer] = await render_queue.blocks(self._owner, turn.answer)
        return rendered

    def _page(
        self, view: HistoryView, rendered: dict[str, Blocks], wanted: _Wanted, own: _Own
    ) -> bytes:
        """Return a page's bytes. Runs in a thread, because it may have many matches to mark."""
        pages, texts, words = self._pages, self._pages.texts, words_of(wanted.query)
        is_cut_off = view.since and view.page == view.pages and not wanted.session
        return pages.render(
            "history.html",
            title=view.dialogues[0].title if wanted.session else texts.history_title,
            aigc=aigc.metadata(pages.place.producer, self._token),
            base=f"{pages.place.root}/h/{self._token}",
            own=own,
            models=(),
            shares=[share._asdict() for share in own.shares],
            asks=self._writing.asks,
            wanted=wanted,
            found=wording.history_found(view.turns, texts) if words else "",
            dialogues=[self._dialogue(dialogue, rendered, words) for dialogue in view.dialogues],
            page=view.page,
            pages=view.pages,
            newer=wanted.address(view.page - 1),
            older=wanted.address(view.page + 1),
            dropped=wording.history_dropped(times.day(view.since), texts) if is_cut_off else "",
        )

    def _dialogue(
        self, dialogue: Dialogue, rendered: dict[str, Blocks], words: tuple[str, ...]
    ) -> dict[str, object]:
        texts = self._pages.texts
        return {
            "session": dialogue.session,
            "address": "?" + urlencode({"session": dialogue.session}),
            "title": dialogue.title,
            "opened": times.local(dialogue.opened_at),
            "about": (
                f"{dialogue.assistant} · {dialogue.ended} · "
                f"{wording.history_count(dialogue.count, texts)}"
            ),
            "can_be_shared": dialogue.can_be_shared,
            "open_one": wording.history_open_one(dialogue.count, texts),
            "turns": [self._turn(turn, rendered[turn.answer], words) for turn in dialogue.turns],
        }

    def _turn(self, turn: Turn, blocks: Blocks, words: tuple[str, ...]) -> dict[str, object]:
        # Both are safe before marking: the question is escaped here, nh3 sanitised the blocks.
        return {
            "at": times.clock(turn.asked_at),
            "question": Markup(mark(escape(turn.question, quote=False), words)),  # noqa: S704
            "blocks": [Markup(mark(block, words)) for block in blocks],  # noqa: S704
            "status": note(turn, self._pages.texts),
        }


class Download(_OfHistory):
    """`/h/TOKEN/download`: the complete history, or one session, as a Markdown file."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes | int:
        """Serve the file."""
        prepare(request, HTML)
        if response := self._over_limit(request, DOWNLOAD):
            return response
        history = self._history()
        dialogues = history.whole(_argument(request, b"session")) if history is not None else ()
        if history is None or (not dialogues and _argument(request, b"session")):
            return self._pages.gone(request)
        return serve(self._pages, request, Deferred.fromCoroutine(self._write(request, dialogues)))

    async def _write(self, request: Request, dialogues: Sequence[Dialogue]) -> None:
        pages = self._pages
        label = aigc.metadata(pages.place.producer, self._token)
        paragraphs = as_markdown(dialogues, pages.texts, label)
        parts: list[str] = []
        while True:  # in pieces, so that other owners get their turn
            part = await pages.render_queue.run(
                self._owner, lambda: list(islice(paragraphs, PARAGRAPHS_AT_ONCE)), costly=True
            )
            if not part:
                break
            parts += part

        def make() -> tuple[bytes, bytes]:
            plain = ("\n\n".join(parts) + "\n").encode("utf-8", "replace")
            return plain, pack(plain)

        plain, packed = await pages.render_queue.run(self._owner, make)
        await pages.page_views.durable()
        request.setHeader("Content-Type", "text/markdown; charset=utf-8")
        name = "dialogue.md" if len(dialogues) == 1 else "history.md"
        request.setHeader("Content-Disposition", f'attachment; filename="{name}"')
        await send(pages, self._owner, request, plain, packed)


class Erase(_OfHistory):
    """`/h/TOKEN/erase`: asks for confirmation, then erases the user."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """Ask for confirmation. A GET must not erase, because bots follow links too."""
        prepare(request, HTML, forms=True)
        if response := self._over_limit(request, HISTORY):
            return response
        return self._question() if self._history() is not None else self._pages.gone(request)

    def _question(self) -> bytes:
        return self._pages.render(
            "erase.html",
            title=self._pages.texts.history_erase,
            base=f"{self._pages.place.root}/h/{self._token}",
            confirmation=self._pages.page_views.confirmation(self._token),
        )

    def render_POST(self, request: Request) -> bytes | int:
        """Erase the user if the form came from the confirmation page."""
        prepare(request, HTML, forms=True)
        body = request.content.read(MAX_FORM_BYTES) if request.content is not None else b""
        form = parse_qs(body.decode("ascii", "replace"))
        confirmed = form.get("confirmation", [""])[0]
        expected = self._pages.page_views.confirmation(self._token)
        if response := self._over_limit(request, CHANGE):
            return response
        if self._history() is None:
            return self._pages.gone(request)
        if not hmac.compare_digest(confirmed.encode("utf-8", "replace"), expected.encode()):
            return self._question()
        return serve(self._pages, request, Deferred.fromCoroutine(self._erase(request)))

    async def _erase(self, request: Request) -> None:
        texts = self._pages.texts
        # A reader who leaves must not cancel an erasure in progress.
        outcome: Deferred[bool] = Deferred()
        self._pages.page_views.erase(self._token).chainDeferred(outcome)
        try:
            erased = await outcome
        except OSError:
            await send(
                self._pages, self._token, request, self._pages.word(texts.history_erase_failed)
            )
            return
        page = self._pages.word(texts.history_erased) if erased else self._pages.gone(request)
        await send(self._pages, self._owner, request, page)


def _wanted(request: Request) -> _Wanted:
    return _Wanted(
        number(_argument(request, b"page")),
        _argument(request, b"q")[:MAX_QUERY_CHARS].strip(),
        _argument(request, b"session"),
    )


def _argument(request: Request, name: bytes) -> str:
    values: list[bytes] = request.args.get(name, [b""])
    return values[0].decode("utf-8", "replace")
