"""Who may write on a page: the holder of a cookie, in exchange for a link's write secret."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import DeliveryKey
from wxgptd.domain.replies import wording
from wxgptd.ports.page_access import Admitted, Cookies, Form, Reason, Refused
from wxgptd.service.conversation.intake import Intake
from wxgptd.service.conversation.page_views import Target, Tokens
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Links, Settings

Outcome = TypeVar("Outcome")


class Page(NamedTuple):
    """A page whose reader may write: its link's target, and its user's state and cookie."""

    target: Target
    state: UserState
    cookie: str


class PageAccess:
    """Knows which reader may write, and records what a writer does."""

    def __init__(
        self,
        journal: Journal,
        tokens: Tokens,
        settings: Settings,
        links: Links,
        intake: Intake,
        event_clock: EventClock,
    ) -> None:
        self.journal = journal
        self.settings = settings
        self.links = links
        self.event_clock = event_clock
        self._tokens = tokens
        self._intake = intake

    def form_token(self, token: str, cookies: Cookies) -> str:
        """Return what the forms of a page must send; see `wxgptd.ports.page_writing`."""
        page = self.open(token, cookies)
        return "" if isinstance(page, Refused) else self.links.form_token(token, page.cookie)

    def claim(
        self, token: str, secret: str, nonce: str, cookies: Cookies
    ) -> Deferred[Admitted | Refused]:
        """Exchange a link's write secret for a cookie; a valid cookie is kept."""
        texts = self.settings.page_texts
        target = self._target(token)
        if target is None:
            return succeed(Refused(Reason.GONE, texts.page_gone))
        if not self.settings.asks_on_pages:
            return succeed(Refused(Reason.NOT_ALLOWED, texts.page_ask_off))
        now, name = self.event_clock.now(), self.links.cookie_name(target.user)
        issued_at = self.links.issued_at(token, secret)
        if not issued_at or now - issued_at >= self.settings.ask_for_s:
            return succeed(Refused(Reason.NOT_ADMITTED, texts.page_ask_in_chat))
        state, cookie = self.journal.state(target.user), cookies.get(name, "")
        if not self._may_write(state, cookie):
            cookie = self.links.cookie(secret, nonce or secrets.token_urlsafe(24))
        is_writer = self._may_write(state, cookie)
        if not is_writer and (refused := self.rejected()):
            return succeed(refused)
        entry = self.journal.record(
            target.user,
            c.AdmitWriter(
                at=now, question=target.question, cookie=_digest(cookie), issued_at=issued_at
            ),
        )
        if not entry.events and not is_writer:
            return succeed(Refused(Reason.NOT_ADMITTED, texts.page_ask_in_chat))
        admitted = Admitted(name, cookie, self.links.form_token(token, cookie))
        return self.journal.committed().addCallback(lambda _: admitted)

    def _target(self, token: str) -> Target | None:
        return self._tokens.answer(token) or self._tokens.history(token)

    def _may_write(self, state: UserState, cookie: str) -> bool:
        now, ask_for_s = self.event_clock.now(), self.settings.ask_for_s
        return bool(cookie) and state.may_write(_digest(cookie), now, ask_for_s)

    def open(self, token: str, cookies: Cookies) -> Page | Refused:
        """Return the page behind `token` if its reader may write."""
        texts = self.settings.page_texts
        target = self._target(token)
        if target is None:
            return Refused(Reason.GONE, texts.page_gone)
        if not self.settings.asks_on_pages:
            return Refused(Reason.NOT_ALLOWED, texts.page_ask_off)
        state = self.journal.state(target.user)
        cookie = cookies.get(self.links.cookie_name(target.user), "")
        if self._may_write(state, cookie):
            return Page(target, state, cookie)
        was_writer = bool(cookie) and _digest(cookie) in state.writing.cookies
        reason = Reason.GONE if was_writer else Reason.NOT_ADMITTED
        return Refused(reason, texts.page_ask_in_chat)

    def writable(self, token: str, form: Form) -> Page | Refused:
        """Return the page behind `token` if the request comes from one of its forms."""
        page = self.open(token, form.cookies)
        if isinstance(page, Refused):
            return page
        expected = self.links.form_token(token, page.cookie).encode()
        if not hmac.compare_digest(form.token.encode("utf-8", "replace"), expected):
            return Refused(Reason.NOT_ALLOWED, self.settings.page_texts.page_reload_first)
        return page

    def rejected(self) -> Refused | None:
        """Return why nothing new is accepted at the moment, or None."""
        why = self._intake.rejection()
        if why is None:
            return None
        return Refused(Reason.CONFLICT, wording.rejection(why, self.settings.page_texts))

    def note(
        self,
        token: str,
        form: Form,
        fact: Callable[[Page, float], e.Fact],
        *,
        always: bool = False,
    ) -> Deferred[Refused | None]:
        """Record a fact about the answer of the page behind `token`.

        Unless it is `always` recorded, a full disk has no space for it.
        """
        page = self.writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        if not page.target.question:  # the page of a history
            return succeed(Refused(Reason.INVALID, self.settings.page_texts.page_not_sent))
        if not always and (refused := self.rejected()):
            return succeed(refused)
        self.journal.record(page.target.user, c.RecordFact(fact(page, self.event_clock.now())))
        return self.durable(None)

    def durable(self, outcome: Outcome) -> Deferred[Outcome]:
        """Fire with `outcome` once everything recorded so far is durable."""
        return self.journal.committed().addCallback(lambda _: outcome)


def delivery_of(prefix: str, key: str) -> DeliveryKey:
    """Return the delivery key, with that `prefix`, of what is done with the idempotency `key`."""
    return DeliveryKey(prefix + sha256(key.encode("utf-8", "replace")).hexdigest()[:24])


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode("utf-8", "replace")).digest()
