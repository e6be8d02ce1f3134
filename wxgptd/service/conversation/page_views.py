"""The answers and histories behind links. Implements `wxgptd.ports.pages.PageViews`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.session import Completed, Pending, Question
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import CloseReason, DeliveryKey, LinkHash, User
from wxgptd.domain.replies.texts import DEFAULT_TITLE
from wxgptd.ports.pages import AnswerView, Progress
from wxgptd.service.answers.inflight import Flight, InFlight
from wxgptd.service.conversation.histories import Standing, UserHistory, asked, standing
from wxgptd.service.state.earlier_links import EarlierLinks
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Links, Settings

CACHED_TARGETS = 10_000
"""At most this many links that were opened lately are remembered."""


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a link: the answer to `question`, or the user's history if it is empty."""

    user: User
    question: DeliveryKey
    issued_at: float


class Tokens:
    """Resolves the tokens of links.

    Whether a link is still valid depends on its user's state: it dies when its session is cleared
    with `/clear` (a history link, when any session is), and when its user is erased.
    """

    def __init__(
        self,
        journal: Journal,
        earlier: EarlierLinks,
        links: Links,
        settings: Settings,
        event_clock: EventClock,
    ) -> None:
        self._journal = journal
        self._earlier = earlier
        self._links = links
        self._settings = settings
        self._event_clock = event_clock
        self._targets: dict[str, Target] = {}

    def find(self, token: str) -> Target | None:
        """Return what the link with `token` leads to, or None."""
        target = self._targets.get(token) or self._search(token)
        if target is None:
            return None
        is_expired = self._event_clock.now() - target.issued_at > self._settings.link_ttl_s
        return None if is_expired else target

    def user(self, token: str) -> User | None:
        """Return the user to whom a token leads, whether or not its link is valid."""
        return self._links.user(token)

    def _search(self, token: str) -> Target | None:
        link = self.hash(token)
        user = self._links.user(token) or self._earlier.find(link)
        if user is None:
            return None
        for other, question, issued_at in self._journal.state(user).links(0.0):
            if other == link:
                if len(self._targets) >= CACHED_TARGETS:
                    self._targets.clear()
                self._targets[token] = Target(user, question, issued_at)
                return self._targets[token]
        return None

    def forget(self) -> None:
        """Forget all targets: a user has been erased."""
        self._targets.clear()

    def hash(self, token: str) -> LinkHash:
        """Return the hash of a token, which identifies the link in the state and the log."""
        return self._links.hash(token)

    def confirmation(self, token: str) -> str:
        """Return the confirmation that a form behind `token` must submit."""
        return self._links.confirmation(token)

    def answer(self, token: str) -> Target | None:
        """Return the target of a link to an answer, or None if there is no such link any longer."""
        target = self.find(token)
        if target is None or not target.question:
            return None
        turn = self._journal.state(target.user).find(target.question)
        cleared = CloseReason.CLEARED, CloseReason.UNSUBSCRIBED
        return None if turn is None or turn[0].closed in cleared else target

    def history(self, token: str) -> Target | None:
        """Return the target of a link to a history, or None if there is no such link any longer."""
        target = self.find(token)
        if target is None or target.question:
            return None
        issued = self._journal.state(target.user).history_links
        token_hash = self.hash(token)
        return target if any(token_hash == link for link, _ in issued) else None


class PageViews:
    """Finds answers and histories by the tokens of their links."""

    def __init__(
        self,
        *,
        journal: Journal,
        flights: InFlight,
        tokens: Tokens,
        settings: Settings,
        event_clock: EventClock,
        erase: Callable[[User, CloseReason], Deferred[bool]],
    ) -> None:
        self._journal = journal
        self._flights = flights
        self._tokens = tokens
        self._settings = settings
        self._event_clock = event_clock
        self._erase = erase

    def owner(self, token: str) -> str:
        """Return an identifier of the link's owner; see `wxgptd.ports.pages.PageViews`."""
        target = self._tokens.find(token)
        return f"{hash(target.user):x}" if target is not None else ""

    def answer(self, token: str) -> AnswerView | None:
        """Return the answer behind `token` as it is now, or None."""
        answer = self._answer(token)
        if answer is None:
            return None
        target, question = answer
        flight = self._flights.find(target.user, target.question)
        progress, text, failure = self._progress(question, flight)
        return AnswerView(
            question=asked(question, self._settings.page_texts),
            asked_at=question.asked_at,
            progress=progress,
            text=text,
            failure=failure,
            generation=question.restarts,
            thoughts=flight.thoughts if flight is not None else "",
            waited_s=max(0.0, self._event_clock.now() - question.asked_at),
            author=self._author(target, question),
        )

    def _author(self, target: Target, question: Question) -> str:
        """Return the title of the assistant that answers, and its model if that is shown."""
        entry = self._journal.state(target.user).find(target.question)
        assert entry is not None
        assistant = self._settings.assistants.get(entry[0].assistant)
        title = assistant.title if assistant is not None else DEFAULT_TITLE
        answer = question.answer
        if self._settings.shows_model and isinstance(answer, Completed) and answer.model:
            return f"{title} · {answer.model}"
        return title

    def opened(self, token: str) -> None:
        """Record that the page behind `token` was opened."""
        answer = self._answer(token)
        if answer is not None and not answer[1].page_opened and not self._journal.refuses:
            target, _ = answer
            opened = e.PageOpened(at=self._event_clock.now(), question=target.question)
            self._journal.record(target.user, c.RecordFact(opened))

    def changed(self, token: str) -> Deferred[None]:
        """Fire when the answer behind `token` changes."""
        target = self._tokens.find(token)
        flight = self._flights.find(target.user, target.question) if target is not None else None
        return flight.changed() if flight is not None else succeed(None)

    def durable(self) -> Deferred[None]:
        """Fire when everything returned so far is durable."""
        return self._journal.committed()

    def history(self, token: str) -> UserHistory | None:
        """Return the history behind `token`, or None."""
        history = self._history(token)
        if history is None:
            return None
        user, state = history
        unfinished = {
            name: self._progress(state.question(name), self._flights.find(user, name))
            for name in state.unanswered
        }
        assistants = self._settings.assistants.items()
        titles = {name: assistant.title for name, assistant in assistants}
        return UserHistory(state, self._settings.page_texts, titles, unfinished)

    def confirmation(self, token: str) -> str:
        """Return what a form behind `token` must submit; see `wxgptd.ports.pages.PageViews`."""
        return self._tokens.confirmation(token)

    def erase(self, token: str) -> Deferred[bool]:
        """Erase the user whose history is behind `token`."""
        history = self._history(token)
        return succeed(False) if history is None else self._erase(history[0], CloseReason.CLEARED)

    def _history(self, token: str) -> tuple[User, UserState] | None:
        target = self._tokens.history(token)
        return (target.user, self._journal.state(target.user)) if target is not None else None

    def _answer(self, token: str) -> tuple[Target, Question] | None:
        target = self._tokens.answer(token)
        if target is None:
            return None
        return target, self._journal.state(target.user).question(target.question)

    def _progress(self, question: Question, flight: Flight | None) -> Standing:
        """Return the progress of the answer, its text, and its failure message."""
        if not isinstance(question.answer, Pending):
            return standing(question.answer, self._settings.page_texts)
        if flight is None or not flight.started:
            return Progress.WAITING, "", ""
        written = flight.written
        return (Progress.WRITING if written else Progress.THINKING), written, ""
