"""The POSTs of pages: JSON in and out, below `/a/TOKEN` and `/h/TOKEN`.

Every request must come from a page of this origin, with a type of content that no form of another
site can send. All but `claim` carry the browser's cookie and the form token of their page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Request

from wxgptd.domain.model.page_writing import MAX_SHARED_TURNS
from wxgptd.pages import links
from wxgptd.pages.limits import WRITE
from wxgptd.pages.serving import LinkedResource, Pages, prepare, send, serve
from wxgptd.pages.shares import listed, share_of
from wxgptd.ports.page_access import Admitted, Cookies, Form, Reason, Refused
from wxgptd.ports.page_sharing import PageSharing, Shared
from wxgptd.ports.page_writing import Asked, PageWriting

MAX_BODY_BYTES = 60 * 1024
"""Requests larger than 64 KiB never get this far."""

KEPT_FOR_S = 30 * 86_400
"""How long a browser keeps its cookie; the right to write ends earlier."""

RATINGS = ("up", "down", "")
_KEY = re.compile(r"[\x21-\x7e]{8,128}")

Body = Mapping[str, object]
Outcome = Admitted | Asked | Shared | Refused | None
Kind = Callable[[Body, Request], Awaitable[Outcome] | None]
"""Writes what a request asks for; None if its body is malformed."""


def cookies_of(request: Request) -> Cookies:
    """Return the cookies that a request carries."""
    received: Mapping[bytes, bytes] = request.received_cookies
    return {
        name.decode("ascii", "replace"): value.decode("ascii", "replace")
        for name, value in received.items()
    }


class Write(LinkedResource):
    """One kind of POST. `write` returns its outcome, or None for a malformed body."""

    isLeaf = True

    def __init__(
        self,
        pages: Pages,
        writing: PageWriting,
        token: str,
        write: Kind,
    ) -> None:
        super().__init__(pages, token)
        self._writing = writing
        self._write = write

    def render_GET(self, request: Request) -> bytes:
        """Refuse: a GET has no effect."""
        prepare(request, "text/plain; charset=utf-8")
        request.setResponseCode(405)
        request.setHeader("Allow", "POST")
        return b""

    def render_POST(self, request: Request) -> int:
        """Write, if the request comes from this origin and is well-formed."""
        prepare(request, "application/json; charset=utf-8")
        return serve(self._pages, request, Deferred.fromCoroutine(self._answer(request)))

    async def _answer(self, request: Request) -> None:
        outcome: Outcome = self._refused(request)
        if outcome is None:
            body = _json_object(request)
            work = self._write(body, request) if body is not None else None
            if work is None:
                outcome = Refused(Reason.INVALID, self._pages.texts.page_not_sent)
            else:
                # A reader who leaves must not cancel what is being written.
                written: Deferred[Outcome] = Deferred()
                Deferred.fromCoroutine(_awaited(work)).chainDeferred(written)
                outcome = await written
        await send(self._pages, self._owner, request, self._rendered(request, outcome))

    def _refused(self, request: Request) -> Refused | None:
        """Return why a request is refused before its body is read, or None."""
        texts = self._pages.texts
        origin = (request.getHeader(b"origin") or b"").decode("ascii", "replace").lower()
        if origin != self._pages.place.origin:
            return Refused(Reason.NOT_ALLOWED, texts.page_reload_first)
        if not links.well_formed(self._token):
            return Refused(Reason.GONE, texts.page_gone)
        # Only those who may write use the allowance: others with the link could lock them out.
        is_writer = bool(self._writing.form_token(self._token, cookies_of(request)))
        if is_writer and self._pages.limits.admit(self._owner, WRITE):
            return Refused(Reason.CONFLICT, texts.page_too_often)
        return None

    def _rendered(self, request: Request, outcome: Outcome) -> bytes:
        match outcome:
            case Refused(reason=reason, text=text):
                request.setResponseCode(int(reason))
                answer: Body = {"error": text}
            case Admitted(cookie_name=name, cookie=cookie, form_token=form_token):
                request.addCookie(
                    name,
                    cookie,
                    path="/",
                    max_age=str(KEPT_FOR_S),
                    secure=self._pages.place.origin.startswith("https:"),
                    httpOnly=True,
                    sameSite="lax",
                )
                cookies = {name: cookie}
                shares = listed(self._pages, self._writing.sharing, self._token, cookies)
                answer = {
                    "form": form_token,
                    "models": list(self._writing.models(self._token, cookies)),
                    "shares": [share._asdict() for share in shares],
                }
            case Asked(token=token, form_token=form_token, question=question, session=session):
                page = f"{self._pages.place.root}/a/{token}"
                answer = {
                    "token": token,
                    "page": page,
                    "form": form_token,
                    "question": question,
                    "session": session,
                }
            case Shared():
                answer = share_of(self._pages, outcome)._asdict()
            case None:
                answer = {}
        return json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")


def write_resource(pages: Pages, writing: PageWriting, token: str, name: bytes) -> Resource | None:
    """Return the resource for POSTs to `name` below the page of `token`, or None."""

    def claim(body: Body, request: Request) -> Awaitable[Outcome] | None:
        secret, nonce = body.get("secret"), body.get("nonce", "")
        if not isinstance(secret, str) or not isinstance(nonce, str):
            return None
        return writing.claim(token, secret, nonce, cookies_of(request))

    def ask(body: Body, request: Request) -> Awaitable[Outcome] | None:
        question, key = body.get("question"), _key(request)
        if not isinstance(question, str) or not question.strip() or key is None:
            return None
        return writing.ask(token, _form(request), question, key)

    def retry(body: Body, request: Request) -> Awaitable[Outcome] | None:
        key, model = _key(request), body.get("model", "")
        if key is None or not isinstance(model, str):
            return None
        return writing.retry(token, _form(request), key, model)

    def stop(_: Body, request: Request) -> Awaitable[Outcome]:
        return writing.stop(token, _form(request))

    def rate(body: Body, request: Request) -> Awaitable[Outcome] | None:
        rating, words = body.get("rating"), body.get("words", "")
        if rating not in RATINGS or not isinstance(rating, str) or not isinstance(words, str):
            return None
        if words and not rating:
            return None
        return writing.rate(token, _form(request), rating, words)

    def seen(_: Body, request: Request) -> Awaitable[Outcome]:
        return writing.seen(token, _form(request))

    def delete(body: Body, request: Request) -> Awaitable[Outcome] | None:
        session = body.get("session")
        if not isinstance(session, str):
            return None
        return writing.delete(token, _form(request), session)

    kinds = {b"claim": claim, b"ask": ask, b"retry": retry, b"stop": stop, b"feedback": rate,
             b"seen": seen, b"delete": delete,
             **_sharing_kinds(writing.sharing, token)}  # fmt: skip
    write = kinds.get(name)
    return Write(pages, writing, token, write) if write is not None else None


def _sharing_kinds(sharing: PageSharing, token: str) -> dict[bytes, Kind]:
    def share(body: Body, request: Request) -> Awaitable[Outcome] | None:
        turns, session, key = body.get("turns", []), body.get("session"), _key(request)
        if key is None or not isinstance(turns, list) or len(turns) > MAX_SHARED_TURNS:
            return None
        if isinstance(session, str):
            return sharing.share_session(token, _form(request), session, key)
        if not all(isinstance(turn, str) and links.well_formed(turn) for turn in turns):
            return None
        return sharing.share(token, _form(request), turns, key)

    def withdraw(body: Body, request: Request) -> Awaitable[Outcome] | None:
        shared = body.get("share")
        if not isinstance(shared, str) or not links.well_formed(shared):
            return None
        return sharing.withdraw(token, _form(request), shared)

    return {b"share": share, b"withdraw": withdraw}


async def _awaited(outcome: Awaitable[Outcome]) -> Outcome:
    return await outcome


def _form(request: Request) -> Form:
    token = request.getHeader(b"x-form-token") or b""
    return Form(cookies_of(request), token.decode("ascii", "replace"))


def _key(request: Request) -> str | None:
    """Return the request's idempotency key, or None if it is missing or malformed."""
    key = (request.getHeader(b"idempotency-key") or b"").decode("ascii", "replace")
    return key if _KEY.fullmatch(key) else None


def _json_object(request: Request) -> Body | None:
    """Return the JSON object in a request's body, or None if it is not one, or too large."""
    kind = (request.getHeader(b"content-type") or b"").split(b";")[0].strip().lower()
    if kind != b"application/json" or request.content is None:
        return None
    body = request.content.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
