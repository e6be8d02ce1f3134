"""What stands behind the links, for the pages. Implements `wxgptd.ports.Library`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain import commands as c
from wxgptd.domain.session import Completed, Failed, Pending, Question, Session
from wxgptd.domain.state import UserState
from wxgptd.domain.values import CloseReason, FailureReason, Finish, LinkHash, User
from wxgptd.domain.wording import failure_text
from wxgptd.ports import AnswerView, Dialogue, HistoryView, Progress, Turn
from wxgptd.service.inflight import Flight, InFlight
from wxgptd.service.journal import Journal
from wxgptd.service.projections import LinkIndex, Target
from wxgptd.service.settings import Settings
from wxgptd.service.timeline import Timeline

TURNS_PER_PAGE = 20

Part = tuple[Session, Sequence[Question]]
Page = list[Part]


class Library:
    """Finds answers and histories by the tokens of their links."""

    def __init__(
        self,
        *,
        journal: Journal,
        flights: InFlight,
        index: LinkIndex,
        link_hash: Callable[[str], LinkHash],
        settings: Settings,
        timeline: Timeline,
        erase: Callable[[User, CloseReason], Deferred[bool]],
    ) -> None:
        self._journal = journal
        self._flights = flights
        self._index = index
        self._link_hash = link_hash
        self._settings = settings
        self._timeline = timeline
        self._erase = erase

    def answer(self, token: str) -> AnswerView | None:
        """Return the answer behind `token` as it stands, or None."""
        found = self._find_answer(token)
        if found is None:
            return None
        target, question = found
        flight = self._flights.find(target.user, target.question)
        progress, text, failure = self._standing(question, flight)
        return AnswerView(
            question=self._asked(question),
            asked_at=question.asked_at,
            progress=progress,
            text=text,
            failure=failure,
            generation=question.restarts,
            thoughts=flight.thoughts if flight is not None else "",
            waited_s=max(0.0, self._timeline.now() - question.asked_at),
        )

    def opened(self, token: str) -> None:
        """Note that the page behind `token` was asked for."""
        found = self._find_answer(token)
        if found is not None and not found[1].page_opened:
            target, _ = found
            command = c.OpenPage(at=self._timeline.now(), question=target.question)
            self._journal.record(target.user, command)

    def changed(self, token: str) -> Deferred[None]:
        """Fire when the answer behind `token` is not what it was."""
        target = self._target(token)
        flight = self._flights.find(target.user, target.question) if target is not None else None
        return flight.changed() if flight is not None else succeed(None)

    def durable(self) -> Deferred[None]:
        """Fire when all that was told so far is on record."""
        return self._journal.committed()

    def history(self, token: str, page: int, words: Sequence[str] = ()) -> HistoryView | None:
        """Return one page of the history behind `token`, or None."""
        found = self._find_history(token)
        if found is None:
            return None
        user, state = found
        wanted = [word.casefold() for word in words]
        parts = [
            (session, [one for one in session.questions.values() if self._holds(one, wanted)])
            for session in _readable(state)
        ]
        if wanted:
            parts = [(session, questions) for session, questions in parts if questions]
        pages = _paged(parts)
        page = min(max(page, 1), len(pages))
        return HistoryView(
            dialogues=tuple(self._dialogue(user, *part) for part in pages[page - 1]),
            page=page,
            pages=len(pages),
            turns=sum(len(questions) for _, questions in parts),
            since=state.history_since,
        )

    def whole_history(self, token: str) -> Sequence[Dialogue] | None:
        """Return the history behind `token`, oldest first, or None."""
        found = self._find_history(token)
        if found is None:
            return None
        user, state = found
        return [
            self._dialogue(user, session, tuple(session.questions.values()))
            for session in reversed(list(_readable(state)))
        ]

    def erase(self, token: str) -> Deferred[bool]:
        """Erase the user whose history is behind `token`."""
        found = self._find_history(token)
        return succeed(False) if found is None else self._erase(found[0], CloseReason.CLEARED)

    def _find_history(self, token: str) -> tuple[User, UserState] | None:
        target = self._target(token)
        if target is None or target.question:
            return None
        state = self._journal.state(target.user)
        link = self._link_hash(token)
        if not any(link == one for one, _ in state.history_links):
            return None
        return target.user, state

    def _holds(self, question: Question, words: Sequence[str]) -> bool:
        """Tell whether all of `words`, casefolded, are in a question or its answer."""
        answer = question.answer
        said = "" if isinstance(answer, Pending) else answer.text
        text = f"{self._asked(question)}\n{said}".casefold() if words else ""
        return all(word in text for word in words)

    def _target(self, token: str) -> Target | None:
        return self._index.find(self._link_hash(token), self._timeline.now())

    def _find_answer(self, token: str) -> tuple[Target, Question] | None:
        target = self._target(token)
        if target is None or not target.question:
            return None
        found = self._journal.state(target.user).find(target.question)
        if found is None or found[0].closed in (CloseReason.CLEARED, CloseReason.UNSUBSCRIBED):
            return None
        return target, found[1]

    def _dialogue(self, user: User, session: Session, questions: Sequence[Question]) -> Dialogue:
        ended = f"history_{session.closed}" if session.closed is not None else "history_open"
        return Dialogue(
            opened_at=session.opened_at,
            assistant=session.assistant,
            ended=getattr(self._settings.texts, ended),
            turns=tuple(self._turn(user, question) for question in questions),
        )

    def _turn(self, user: User, question: Question) -> Turn:
        flight = self._flights.find(user, question.delivery)
        progress, text, failure = self._standing(question, flight)
        return Turn(
            asked_at=question.asked_at,
            question=self._asked(question),
            answer=text,
            progress=progress,
            failure=failure,
        )

    def _asked(self, question: Question) -> str:
        picture = self._settings.texts.page_picture if question.image else ""
        return f"{picture} {question.text}".strip()

    def _standing(self, question: Question, flight: Flight | None) -> tuple[Progress, str, str]:
        """Return how far the answer is, its text, and the sentence about its failure."""
        match question.answer:
            case Completed(text=text, finish=Finish.LENGTH):
                return Progress.CUT_SHORT, text, ""
            case Completed(text=text):
                return Progress.DONE, text, ""
            case Failed(text=text, reason=FailureReason.INTERRUPTED) if text:
                return Progress.INTERRUPTED, text, ""
            case Failed(text=text, reason=reason, retry_after_s=retry_after_s):
                return (
                    Progress.FAILED,
                    text,
                    failure_text(reason, retry_after_s, self._settings.texts),
                )
            case Pending():
                if flight is None or not flight.started:
                    return Progress.WAITING, "", ""
                written = flight.written
                return (Progress.WRITING if written else Progress.THINKING), written, ""


def _readable(state: UserState) -> Iterator[Session]:
    return (one for one in state.sessions() if one.closed is not CloseReason.UNSUBSCRIBED)


def _paged(parts: Iterable[Part]) -> list[Page]:
    """Return the sessions, newest first, in pages of a bounded number of turns.

    A longer session goes on from page to page, its newest turns first as well.
    """
    pages: list[Page] = [[]]
    room = TURNS_PER_PAGE
    for session, asked in parts:
        questions = asked
        while True:
            if room == 0:
                pages.append([])
                room = TURNS_PER_PAGE
            begin = max(0, len(questions) - room)
            pages[-1].append((session, questions[begin:]))
            room -= max(1, len(questions) - begin)
            questions = questions[:begin]
            if not questions:
                break
    return pages
