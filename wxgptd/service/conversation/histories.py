"""One user's history, searchable and in pages small enough for a phone.

Implements `wxgptd.ports.pages.History`. It consists of immutable values, so another thread may read
it while the user's state changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from wxgptd.domain.decide.pages import LINKS_ENDED
from wxgptd.domain.model.session import Answer, Completed, Failed, Pending, Question, Session
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    AssistantName,
    CloseReason,
    DeliveryKey,
    FailureReason,
    Finish,
)
from wxgptd.domain.replies.texts import DEFAULT_TITLE, Texts
from wxgptd.domain.replies.wording import failure_text
from wxgptd.domain.text.bidi import without_controls
from wxgptd.domain.text.first_line import first_line
from wxgptd.ports.pages import Dialogue, HistoryView, Progress, Turn

SESSIONS_PER_PAGE = 20
TURNS_PER_PAGE = 20
MAX_TITLE_CHARS = 60

CHARS_PER_PAGE = 40_000
"""A page of long turns holds fewer of them, but at least one."""

Part = tuple[Session, Sequence[Question]]
Page = list[Part]

Standing = tuple[Progress, str, str]
"""The progress of an answer, its text, and its failure message."""


class UserHistory:
    """The history of one user.

    `titles` holds the assistants' titles; `unfinished` is the state of each answer that is still
    being written.
    """

    def __init__(
        self,
        state: UserState,
        texts: Texts,
        titles: Mapping[AssistantName, str],
        unfinished: Mapping[DeliveryKey, Standing],
    ) -> None:
        self._titles = titles
        self._sessions = tuple(_readable(state))
        self._since = state.history_since
        self._texts = texts
        self._unfinished = unfinished

    def page(self, number: int) -> HistoryView:
        """Return one page of the list; see `wxgptd.ports.pages.History`."""
        pages = max(1, -(-len(self._sessions) // SESSIONS_PER_PAGE))
        number = min(max(number, 1), pages)
        begin = (number - 1) * SESSIONS_PER_PAGE
        turns = chars = 0
        dialogues = []
        for session in self._sessions[begin : begin + SESSIONS_PER_PAGE]:
            questions = tuple(session.questions.values())
            more_turns, more_chars = turns + len(questions), chars + sum(map(_size, questions))
            if more_turns <= TURNS_PER_PAGE and more_chars <= CHARS_PER_PAGE:
                turns, chars = more_turns, more_chars
                dialogues.append(self._dialogue(session, questions))
            else:
                dialogues.append(self._dialogue(session, ()))
        return HistoryView(
            dialogues=tuple(dialogues),
            page=number,
            pages=pages,
            turns=sum(len(session.questions) for session in self._sessions),
            since=self._since,
        )

    def found(self, number: int, words: Sequence[str]) -> HistoryView:
        """Return one page of search results; see `wxgptd.ports.pages.History`."""
        folded = [word.casefold() for word in words]
        parts: list[Part] = []
        for session in self._sessions:
            matching = [
                question
                for question in session.questions.values()
                if self._matches(question, folded)
            ]
            if matching:
                parts.append((session, matching))
        return self._page_of(parts, number)

    def session(self, number: int, session: str) -> HistoryView:
        """Return one page of one session; see `wxgptd.ports.pages.History`."""
        parts = [
            (one, tuple(one.questions.values())) for one in self._sessions if one.id == session
        ]
        return self._page_of(parts, number)

    def _page_of(self, parts: Sequence[Part], number: int) -> HistoryView:
        pages = _paged(parts)
        number = min(max(number, 1), len(pages))
        return HistoryView(
            dialogues=tuple(self._dialogue(*part) for part in pages[number - 1]),
            page=number,
            pages=len(pages),
            turns=sum(len(questions) for _, questions in parts),
            since=self._since,
        )

    def whole(self, session: str = "") -> Sequence[Dialogue]:
        """Return the complete history, or one session, oldest session first."""
        return [
            self._dialogue(one, tuple(one.questions.values()))
            for one in reversed(self._sessions)
            if session in ("", one.id)
        ]

    def _matches(self, question: Question, words: Sequence[str]) -> bool:
        """Return whether a question and its answer together contain all the casefolded `words`."""
        text = f"{asked(question, self._texts)}\n{_answer_text(question)}".casefold()
        return all(word in text for word in words)

    def _dialogue(self, session: Session, questions: Sequence[Question]) -> Dialogue:
        ended = f"history_{session.closed}" if session.closed is not None else "history_open"
        first = next(iter(session.questions.values()))
        return Dialogue(
            session=session.id,
            title=session.title or self._title(first),
            opened_at=session.opened_at,
            assistant=self._titles.get(session.assistant, DEFAULT_TITLE),
            ended=getattr(self._texts, ended),
            turns=tuple(map(self._turn, questions)),
            count=len(session.questions),
            can_be_shared=session.closed not in LINKS_ENDED,
        )

    def _title(self, first: Question) -> str:
        """Return the title of a session that no model has given one."""
        words = asked(first, self._texts)
        return first_line(words, MAX_TITLE_CHARS) or self._texts.history_untitled

    def _turn(self, question: Question) -> Turn:
        unfinished = self._unfinished.get(question.delivery)
        progress, text, failure = unfinished or standing(question.answer, self._texts)
        return Turn(
            asked_at=question.asked_at,
            question=asked(question, self._texts),
            answer=text,
            progress=progress,
            failure=failure,
        )


def asked(question: Question, texts: Texts) -> str:
    """Return a question as the pages show it."""
    picture = texts.page_picture if question.image else ""
    return f"{picture} {without_controls(question.text)}".strip()


def standing(answer: Answer, texts: Texts) -> Standing:
    """Return the progress of an answer that is not being written at the moment."""
    match answer:
        case Completed(text=text, finish=Finish.LENGTH):
            return Progress.CUT_SHORT, text, ""
        case Completed(text=text):
            return Progress.DONE, text, ""
        case Failed(text=text, reason=FailureReason.INTERRUPTED) if text:
            return Progress.INTERRUPTED, text, ""
        case Failed(text=text, reason=reason, retry_after_s=retry_after_s):
            return Progress.FAILED, text, failure_text(reason, retry_after_s, texts)
        case Pending():
            return Progress.WAITING, "", ""


def _readable(state: UserState) -> Iterator[Session]:
    return (
        session
        for session in state.sessions()
        if session.questions and session.closed is not CloseReason.UNSUBSCRIBED
    )


def _size(question: Question) -> int:
    return len(question.text) + len(_answer_text(question))


def _answer_text(question: Question) -> str:
    return "" if isinstance(question.answer, Pending) else question.answer.text


def _paged(parts: Iterable[Part]) -> list[Page]:
    """Split the sessions, newest first, into pages of bounded size.

    A session too long for one page continues on the next, with its older turns.
    """
    pages: list[Page] = [[]]
    turns = chars = 0
    for session, questions in parts:
        remaining = len(questions)
        while True:
            begin = remaining
            while begin and turns < TURNS_PER_PAGE:
                question = questions[begin - 1]
                size = _size(question)
                if turns and chars + size > CHARS_PER_PAGE:
                    break
                begin, turns, chars = begin - 1, turns + 1, chars + size
            if begin < remaining:
                pages[-1].append((session, questions[begin:remaining]))
                remaining = begin
                if not remaining:
                    break
            pages.append([])
            turns = chars = 0
    return pages
