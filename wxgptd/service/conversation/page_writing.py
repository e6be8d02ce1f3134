"""Writing on pages. Implements `wxgptd.ports.page_writing.PageWriting`.

A question on a page takes the same way as one in the chat: it is read, decided on and recorded, and
the answer runs because it was recorded. Nothing is returned before it is durable.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.decide import closing
from wxgptd.domain.decide import commands as c
from wxgptd.domain.intake import phrases
from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import Settled
from wxgptd.domain.model.session import Session
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    NO_SESSION,
    PAGE_PREFIX,
    CloseReason,
    DeliveryKey,
    Rating,
    Text,
    User,
)
from wxgptd.domain.replies import wording
from wxgptd.domain.text.bidi import without_controls
from wxgptd.ports.page_writing import (
    Admitted,
    Asked,
    Belonging,
    Cookies,
    Form,
    Reason,
    Refused,
)
from wxgptd.service.answers.answer_runner import AnswerRunner
from wxgptd.service.conversation.attempt import Attempt
from wxgptd.service.conversation.histories import asked
from wxgptd.service.conversation.intake import Intake
from wxgptd.service.conversation.page_views import Target, Tokens
from wxgptd.service.conversation.receiving import Receiving
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Links, Settings

MAX_LATER = 50
"""How many later answers a page shows, at most."""

MAX_RATING_CHARS = 500

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Control characters that WeChat does not deliver in messages."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What turns a message into a question."""

    intake: Intake
    receiving: Receiving
    answer_runner: AnswerRunner


class _Page(NamedTuple):
    """A page whose reader may write: its link's target, and its user's state and cookie."""

    target: Target
    state: UserState
    cookie: str


class PageWriting:
    """Lets readers write who have exchanged the secret of a link in the chat for a cookie."""

    def __init__(
        self,
        journal: Journal,
        tokens: Tokens,
        settings: Settings,
        links: Links,
        asking: Asking,
        event_clock: EventClock,
    ) -> None:
        self._journal = journal
        self._tokens = tokens
        self._settings = settings
        self._links = links
        self._asking = asking
        self._event_clock = event_clock

    @property
    def asks(self) -> bool:
        """Whether the operator lets users ask on pages."""
        return self._settings.asks_on_pages

    def form_token(self, token: str, cookies: Cookies) -> str:
        """Return what the forms of a page must send; see `wxgptd.ports.page_writing`."""
        page = self._open(token, cookies)
        return "" if isinstance(page, Refused) else self._links.form_token(token, page.cookie)

    def claim(
        self, token: str, secret: str, nonce: str, cookies: Cookies
    ) -> Deferred[Admitted | Refused]:
        """Exchange a link's write secret for a cookie; a valid cookie is kept."""
        texts = self._settings.page_texts
        target = self._target(token)
        if target is None:
            return succeed(Refused(Reason.GONE, texts.page_gone))
        now, name = self._event_clock.now(), self._links.cookie_name(target.user)
        issued_at = self._links.issued_at(token, secret)
        if not issued_at or now - issued_at >= self._settings.ask_for_s:
            return succeed(Refused(Reason.NOT_ADMITTED, texts.page_ask_in_chat))
        state, cookie = self._journal.state(target.user), cookies.get(name, "")
        if not self._may_write(state, cookie):
            cookie = self._links.cookie(secret, nonce or secrets.token_urlsafe(24))
        is_writer = self._may_write(state, cookie)
        if not is_writer and (refused := self._rejected()):
            return succeed(refused)
        entry = self._journal.record(
            target.user,
            c.AdmitWriter(
                at=now, question=target.question, cookie=_digest(cookie), issued_at=issued_at
            ),
        )
        if not entry.events and not is_writer:
            return succeed(Refused(Reason.NOT_ADMITTED, texts.page_ask_in_chat))
        admitted = Admitted(name, cookie, self._links.form_token(token, cookie))
        return self._journal.committed().addCallback(lambda _: admitted)

    def ask(self, token: str, form: Form, question: str, key: str) -> Deferred[Asked | Refused]:
        """Ask a question, unless one with this `key` was asked before."""
        page = self._writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        return self._ask(page, question, key)

    def retry(self, token: str, form: Form, key: str) -> Deferred[Asked | Refused]:
        """Ask the page's question again, unless that was done with this `key` before."""
        page = self._writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        entry = page.state.find(page.target.question)
        if entry is None:
            return succeed(Refused(Reason.GONE, self._settings.page_texts.page_gone))
        question = entry[1]
        return self._ask(page, question.text, key, question.delivery, question.image)

    def stop(self, token: str, form: Form) -> Deferred[Refused | None]:
        """Stop the page's answer, and keep what is written."""

        def stopped(page: _Page, at: float) -> e.Fact:
            written = self._asking.answer_runner.written(page.target.user)
            return closing.stopped(page.target.question, "by the user on a page", at, written)

        return self._note(token, form, stopped, always=True)

    def rate(self, token: str, form: Form, rating: str, words: str) -> Deferred[Refused | None]:
        """Rate the page's answer."""
        words = without_controls(words.strip())[:MAX_RATING_CHARS]
        return self._note(
            token,
            form,
            lambda page, at: e.AnswerRated(
                at=at, question=page.target.question, rating=Rating(rating), words=words
            ),
        )

    def seen(self, token: str, form: Form) -> Deferred[Refused | None]:
        """Note that the reader is reading the page; of a history's, nothing is recorded."""
        page = self._writable(token, form)
        if not isinstance(page, Refused) and not page.target.question:
            return succeed(None)
        return self._note(
            token, form, lambda page, at: e.ReaderSeen(at=at, question=page.target.question)
        )

    def later(self, token: str, cookies: Cookies) -> Sequence[str]:
        """Return the tokens of the answers to later questions, oldest first."""
        page = self._open(token, cookies)
        if isinstance(page, Refused) or not page.target.question:
            return ()
        user = page.target.user
        questions = [
            question
            for session in page.state.sessions()
            if session.closed is not CloseReason.CLEARED
            for question in session.questions.values()
            if question.asked_at > page.target.issued_at
        ]
        questions.sort(key=lambda question: question.asked_at)
        return [
            self._links.token(user, question.delivery, (question.link,))
            for question in questions[-MAX_LATER:]
        ]

    def rating(self, token: str) -> str:
        """Return how the user rated the page's answer."""
        target = self._tokens.answer(token)
        if target is None:
            return ""
        return self._journal.state(target.user).question(target.question).rating

    # Who may write.

    def _target(self, token: str) -> Target | None:
        return self._tokens.answer(token) or self._tokens.history(token)

    def _may_write(self, state: UserState, cookie: str) -> bool:
        now, ask_for_s = self._event_clock.now(), self._settings.ask_for_s
        return bool(cookie) and state.may_write(_digest(cookie), now, ask_for_s)

    def _open(self, token: str, cookies: Cookies) -> _Page | Refused:
        """Return the page behind `token` if its reader may write."""
        texts = self._settings.page_texts
        target = self._target(token)
        if target is None:
            return Refused(Reason.GONE, texts.page_gone)
        state = self._journal.state(target.user)
        cookie = cookies.get(self._links.cookie_name(target.user), "")
        if self._may_write(state, cookie):
            return _Page(target, state, cookie)
        was_writer = bool(cookie) and _digest(cookie) in state.writing.cookies
        reason = Reason.GONE if was_writer else Reason.NOT_ADMITTED
        return Refused(reason, texts.page_ask_in_chat)

    def _writable(self, token: str, form: Form) -> _Page | Refused:
        """Return the page behind `token` if the request comes from one of its forms."""
        page = self._open(token, form.cookies)
        if isinstance(page, Refused):
            return page
        expected = self._links.form_token(token, page.cookie).encode()
        if not hmac.compare_digest(form.token.encode("utf-8", "replace"), expected):
            return Refused(Reason.NOT_ALLOWED, self._settings.page_texts.page_reload_first)
        return page

    # What is written.

    def _note(
        self,
        token: str,
        form: Form,
        fact: Callable[[_Page, float], e.Fact],
        *,
        always: bool = False,
    ) -> Deferred[Refused | None]:
        """Record a fact about the answer of the page behind `token`.

        Unless it is `always` recorded, a full disk has no space for it.
        """
        page = self._writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        if not page.target.question:  # the page of a history
            return succeed(Refused(Reason.INVALID, self._settings.page_texts.page_not_sent))
        if not always and (refused := self._rejected()):
            return succeed(refused)
        self._journal.record(page.target.user, c.RecordFact(fact(page, self._event_clock.now())))

        def noted(_: None) -> Refused | None:
            return None

        return self._journal.committed().addCallback(noted)

    def _ask(
        self,
        page: _Page,
        text: str,
        key: str,
        retries: DeliveryKey = DeliveryKey(""),
        image: str = "",
    ) -> Deferred[Asked | Refused]:
        texts = self._settings.page_texts
        user = page.target.user
        if not self.asks or user.account not in self._settings.accounts:
            return succeed(Refused(Reason.NOT_ALLOWED, texts.page_ask_off))
        text = _CONTROLS.sub("", text)
        delivery = _delivery(key)
        before = page.state.find(delivery)
        if before is not None:
            if before[1].text != text.strip():
                return succeed(Refused(Reason.CONFLICT, texts.page_reload_first))
            return self._asked(user, page, delivery)
        arrived, at = self._event_clock.clock.seconds(), self._event_clock.now()
        attempt = Attempt(user, delivery, Text(text), 0, arrived, at)
        message = self._asking.intake.read(attempt)._replace(
            phrase=phrases.SAY, always=None, otherwise=None
        )
        if refused := self._rejected():
            return succeed(refused)
        policy = self._settings.account(user).policy
        receive = self._asking.receiving.command(attempt, message, page.state, policy, tuple)
        session = self._session(page)
        entry = self._journal.record(
            user,
            c.AskOnPage(
                message=receive,
                session=session.id if session is not None else NO_SESSION,
                retries=retries,
                image=image,
            ),
        )
        if entry.state.find(delivery) is not None:
            return self._asked(user, page, delivery)
        window = entry.state.windows.get(delivery)
        notice = texts.page_ask_in_chat
        if isinstance(window, Settled):
            context = self._settings.reply_context(user).without_taps()
            notice = wording.render(window.reply, None, "", texts, context)
        refused = Refused(Reason.CONFLICT, notice)
        return self._journal.committed().addCallback(lambda _: refused)

    def _rejected(self) -> Refused | None:
        """Return why nothing new is accepted at the moment, or None."""
        why = self._asking.intake.rejection()
        if why is None:
            return None
        return Refused(Reason.CONFLICT, wording.rejection(why, self._settings.page_texts))

    def _session(self, page: _Page) -> Session | None:
        """Return the session of the page's question; of the history, the last one."""
        state, question = page.state, page.target.question
        if not question:
            return state.live or state.past.last()
        entry = state.find(question)
        return entry[0] if entry is not None else None

    def _asked(self, user: User, page: _Page, delivery: DeliveryKey) -> Deferred[Asked | Refused]:
        """Return the question that was asked, once it is durable."""
        entry = self._journal.state(user).find(delivery)
        assert entry is not None
        session, question = entry
        of_page = self._session(page)
        if of_page is not None and session.id == of_page.id:
            belonging = Belonging.RESUMED if of_page.closed is not None else Belonging.SAME
        elif next(iter(session.questions)) == delivery:
            belonging = Belonging.NEW
        else:
            belonging = Belonging.OTHER
        token = self._links.token(user, delivery, (question.link,))
        outcome = Asked(
            token,
            self._links.form_token(token, page.cookie),
            asked(question, self._settings.page_texts),
            belonging,
        )
        return self._journal.committed().addCallback(lambda _: outcome)


def _delivery(key: str) -> DeliveryKey:
    """Return the delivery key of the question that is asked with the idempotency key `key`."""
    return DeliveryKey(PAGE_PREFIX + sha256(key.encode("utf-8", "replace")).hexdigest()[:24])


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode("utf-8", "replace")).digest()
