"""Writing on pages. Implements `wxgptd.ports.page_writing.PageWriting`.

A question on a page takes the same way as one in the chat: it is read, decided on and recorded, and
the answer runs because it was recorded. Nothing is returned before it is durable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.decide import closing
from wxgptd.domain.decide import commands as c
from wxgptd.domain.intake import phrases
from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import Settled
from wxgptd.domain.model.session import Question, Session
from wxgptd.domain.model.values import (
    NO_SESSION,
    PAGE_PREFIX,
    CloseReason,
    DeliveryKey,
    Rating,
    SessionId,
    Text,
    User,
)
from wxgptd.domain.replies import wording
from wxgptd.domain.text.bidi import without_controls
from wxgptd.ports.page_access import Admitted, Cookies, Form, Reason, Refused
from wxgptd.ports.page_writing import Asked, Belonging, Later, LaterTurn
from wxgptd.service.answers.answer_runner import AnswerRunner
from wxgptd.service.conversation.attempt import Attempt
from wxgptd.service.conversation.histories import asked
from wxgptd.service.conversation.intake import Intake
from wxgptd.service.conversation.page_access import Page, PageAccess, delivery_of
from wxgptd.service.conversation.page_views import Tokens
from wxgptd.service.conversation.receiving import Receiving
from wxgptd.service.conversation.sharing import Sharing

MAX_LATER = 50
"""How many later answers a page shows, at most, and how many earlier ones."""

MAX_RATING_CHARS = 500

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Control characters that WeChat does not deliver in messages."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What turns a message into a question."""

    intake: Intake
    receiving: Receiving
    answer_runner: AnswerRunner


class Again(NamedTuple):
    """The question that is asked again: its delivery key and picture, and the model chosen."""

    question: DeliveryKey = DeliveryKey("")
    image: str = ""
    model: str = ""


class PageWriting:
    """Lets readers write who have exchanged the secret of a link in the chat for a cookie."""

    def __init__(self, access: PageAccess, tokens: Tokens, asking: Asking) -> None:
        self._access = access
        self._journal = access.journal
        self._settings = access.settings
        self._links = access.links
        self._event_clock = access.event_clock
        self._tokens = tokens
        self._asking = asking
        self.sharing = Sharing(access, tokens)

    @property
    def asks(self) -> bool:
        """Whether the operator lets users ask on pages."""
        return self._settings.asks_on_pages

    def form_token(self, token: str, cookies: Cookies) -> str:
        """Return what the forms of a page must send; see `wxgptd.ports.page_writing`."""
        return self._access.form_token(token, cookies)

    def claim(
        self, token: str, secret: str, nonce: str, cookies: Cookies
    ) -> Deferred[Admitted | Refused]:
        """Exchange a link's write secret for a cookie; a valid cookie is kept."""
        return self._access.claim(token, secret, nonce, cookies)

    def ask(self, token: str, form: Form, question: str, key: str) -> Deferred[Asked | Refused]:
        """Ask a question, unless one with this `key` was asked before."""
        page = self._access.writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        return self._ask(page, question, key)

    def retry(self, token: str, form: Form, key: str, model: str = "") -> Deferred[Asked | Refused]:
        """Ask the page's question again, unless that was done with this `key` before."""
        page = self._access.writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        entry = page.state.find(page.target.question)
        if entry is None:
            return succeed(Refused(Reason.GONE, self._settings.page_texts.page_gone))
        if model and model not in self._models(page):
            return succeed(Refused(Reason.INVALID, self._settings.page_texts.page_not_sent))
        question = entry[1]
        return self._ask(page, question.text, key, Again(question.delivery, question.image, model))

    def stop(self, token: str, form: Form) -> Deferred[Refused | None]:
        """Stop the page's answer, and keep what is written."""

        def stopped(page: Page, at: float) -> e.Fact:
            written = self._asking.answer_runner.written(page.target.user)
            return closing.stopped(page.target.question, "by the user on a page", at, written)

        return self._access.note(token, form, stopped, always=True)

    def rate(self, token: str, form: Form, rating: str, words: str) -> Deferred[Refused | None]:
        """Rate the page's answer."""
        words = without_controls(words.strip())[:MAX_RATING_CHARS]
        return self._access.note(
            token,
            form,
            lambda page, at: e.AnswerRated(
                at=at, question=page.target.question, rating=Rating(rating), words=words
            ),
        )

    def seen(self, token: str, form: Form) -> Deferred[Refused | None]:
        """Note that the reader is reading the page; of a history's, nothing is recorded."""
        page = self._access.writable(token, form)
        if not isinstance(page, Refused) and not page.target.question:
            return succeed(None)
        return self._access.note(
            token, form, lambda page, at: e.ReaderSeen(at=at, question=page.target.question)
        )

    def delete(self, token: str, form: Form, session: str) -> Deferred[Refused | None]:
        """Delete a session, unless something in it is being answered."""
        page = self._access.writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        user, name = page.target.user, SessionId(session)
        command = c.DeleteSession(at=self._event_clock.now(), session=name)
        entry = self._journal.record(user, command)
        if entry.state.session(name) is not None:
            return succeed(Refused(Reason.CONFLICT, self._settings.page_texts.history_busy))
        return self._access.durable(None)

    def later(self, token: str, cookies: Cookies) -> Later:
        """Return the answers to later questions, oldest first."""
        page = self._access.open(token, cookies)
        if isinstance(page, Refused) or not page.target.question:
            return Later((), 0)
        user, of_page = page.target.user, self._session(page)
        entries = [
            (session, question)
            for session in page.state.sessions()
            if session.closed is not CloseReason.CLEARED
            for question in session.questions.values()
            if question.asked_at > page.target.issued_at
        ]
        entries.sort(key=lambda entry: entry[1].asked_at)
        turns = []
        before = of_page.id if of_page is not None else NO_SESSION
        for session, question in entries:
            belonging = Belonging.SAME if session.id == before else _belonging(session, question)
            before = session.id
            own = self._links.token(user, question.delivery, (question.link,))
            turns.append(LaterTurn(own, belonging))
        return Later(tuple(turns[-MAX_LATER:]), max(0, len(turns) - MAX_LATER))

    def earlier(self, token: str, cookies: Cookies) -> Sequence[str]:
        """Return the tokens of the answers to the earlier questions of the page's session."""
        page = self._access.open(token, cookies)
        session = None if isinstance(page, Refused) else self._session(page)
        if isinstance(page, Refused) or not page.target.question or session is None:
            return ()
        names = list(session.questions)
        before = names[: names.index(page.target.question)][-MAX_LATER:]
        user, questions = page.target.user, session.questions
        return [self._links.token(user, name, (questions[name].link,)) for name in before]

    def models(self, token: str, cookies: Cookies) -> Sequence[str]:
        """Return the models from which the user can choose."""
        page = self._access.open(token, cookies)
        if isinstance(page, Refused):
            return ()
        models = self._models(page)
        return models if len(models) > 1 else ()

    def _models(self, page: Page) -> Sequence[str]:
        session = page.state.live or self._session(page)
        assistant = self._settings.assistants.get(session.assistant) if session else None
        return assistant.models if assistant is not None else ()

    def rating(self, token: str) -> str:
        """Return how the user rated the page's answer."""
        target = self._tokens.answer(token)
        if target is None:
            return ""
        return self._journal.state(target.user).question(target.question).rating

    # Asking.

    def _ask(
        self,
        page: Page,
        text: str,
        key: str,
        again: Again = Again(),
    ) -> Deferred[Asked | Refused]:
        texts = self._settings.page_texts
        user = page.target.user
        if user.account not in self._settings.accounts:
            return succeed(Refused(Reason.NOT_ALLOWED, texts.page_ask_off))
        text = _CONTROLS.sub("", text)
        delivery = delivery_of(PAGE_PREFIX, key)
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
        if refused := self._access.rejected():
            return succeed(refused)
        policy = self._settings.account(user).policy
        receive = self._asking.receiving.command(attempt, message, page.state, policy, tuple)
        session = self._session(page)
        entry = self._journal.record(
            user,
            c.AskOnPage(
                message=receive,
                session=session.id if session is not None else NO_SESSION,
                retries=again.question,
                image=again.image,
                model=again.model,
            ),
        )
        if entry.state.find(delivery) is not None:
            return self._asked(user, page, delivery)
        window = entry.state.windows.get(delivery)
        notice = texts.page_ask_in_chat
        if isinstance(window, Settled) and not window.reply.notice:  # it has been deleted since
            return succeed(Refused(Reason.GONE, texts.page_gone))
        if isinstance(window, Settled):
            context = self._settings.reply_context(user).without_taps()
            notice = wording.render(window.reply, None, "", texts, context)
        refused = Refused(Reason.CONFLICT, notice)
        return self._access.durable(refused)

    def _session(self, page: Page) -> Session | None:
        """Return the session of the page's question; of the history, the last one."""
        state, question = page.state, page.target.question
        if not question:
            return state.live or state.past.last()
        entry = state.find(question)
        return entry[0] if entry is not None else None

    def _before(self, user: User, page: Page, question: Question) -> Session | None:
        """Return the session of the last turn that the page shows before `question`."""
        earlier = [
            (other.asked_at, session)
            for session in self._journal.state(user).sessions()
            for other in session.questions.values()
            if page.target.issued_at <= other.asked_at < question.asked_at
        ]
        return max(earlier, key=lambda entry: entry[0])[1] if earlier else None

    def _asked(self, user: User, page: Page, delivery: DeliveryKey) -> Deferred[Asked | Refused]:
        """Return the question that was asked, once it is durable."""
        entry = self._journal.state(user).find(delivery)
        assert entry is not None
        session, question = entry
        of_page, before = self._session(page), self._before(user, page, question)
        if of_page is not None and session.id == of_page.id:
            belonging = Belonging.RESUMED if of_page.closed is not None else Belonging.SAME
        elif before is not None and before.id == session.id:
            belonging = Belonging.SAME
        else:
            belonging = _belonging(session, question)
        token = self._links.token(user, delivery, (question.link,))
        outcome = Asked(
            token,
            self._links.form_token(token, page.cookie),
            asked(question, self._settings.page_texts),
            belonging,
        )
        return self._access.durable(outcome)


def _belonging(session: Session, question: Question) -> Belonging:
    """Return what to say about a question in another session than the turn before it."""
    is_first = next(iter(session.questions)) == question.delivery
    return Belonging.NEW if is_first else Belonging.OTHER
