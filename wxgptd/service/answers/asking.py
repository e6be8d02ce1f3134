"""Put one question to the models: what they are told, and who is asked next.

The session's own assistant is asked first; where it fails, or has not begun in time, its
fallbacks are, with the same question and the same context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model import reply_window
from wxgptd.domain.model.reply_window import Open
from wxgptd.domain.model.session import Session
from wxgptd.domain.model.values import AccountName, AnswerUsage, DeliveryKey, FailureReason, User
from wxgptd.domain.prompt import context
from wxgptd.domain.prompt.context import Message
from wxgptd.domain.prompt.tokens import ModelName
from wxgptd.domain.replies import wording
from wxgptd.domain.text import answer_length
from wxgptd.domain.text.answer_length import Pace
from wxgptd.ports.models import Breakdown, Completion, Prompt, ignore
from wxgptd.service.answers.fitting import Fitting
from wxgptd.service.answers.inflight import Flight
from wxgptd.service.answers.moderation import Moderation
from wxgptd.service.answers.room import Room
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.projections import Spending
from wxgptd.service.state.settings import Assistant, Settings
from wxgptd.service.state.timeline import Timeline

log = Logger()

RETRY_WITHIN_S = 12.0
"""A retry that begins later than this after the question could not be answered in the chat."""

BEGIN_ANEW_AFTER_S = 0.5
"""How long to wait before a model whose answer broke off is asked once more."""

RETRY_BESIDE_FALLBACK_S = 1.0
"""Where somebody else can answer, asking again is hardly worth the wait."""

LEAST_FIRST_TOKEN_S = 1.0

_NOBODY_ELSE = frozenset({FailureReason.REFUSED, FailureReason.MODERATED, FailureReason.STOPPED})
"""What another model should not be asked about."""

WEEKDAYS = "一二三四五六日"

Stop = Callable[[User, DeliveryKey, AnswerUsage], None]
"""Told of an answer that the words list objects to, and what it took until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What asking takes.

    `may_wait` tells whether an account may let WeChat time out and ask again; `link` is that to an
    answer's page.
    """

    settings: Settings
    journal: Journal
    moderation: Moderation
    fitting: Fitting
    spending: Spending
    pace: Callable[[ModelName], Pace]
    may_wait: Callable[[AccountName, float], bool]
    link: Callable[[User, DeliveryKey], str]
    picture_room: Room
    clock: IReactorTime
    timeline: Timeline


class Asking:
    """Asks models."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._settings = around.settings
        self._timeline = around.timeline

    async def ask(
        self, user: User, name: DeliveryKey, flight: Flight, stop: Stop
    ) -> tuple[Completion | Breakdown, AnswerUsage]:
        """Have one question answered; `stop` is called where the words list objects to that."""
        found = self._around.journal.state(user).find(name)
        assert found is not None
        session, _ = found
        own = self._settings.assistants.get(session.assistant)
        if own is None:
            detail = f"no [assistant.{session.assistant}] is configured any more"
            gone = Breakdown(reason=FailureReason.MISCONFIGURED, text="", detail=detail)
            return gone, AnswerUsage(session.assistant)
        told = context.messages(session, name, self._system_prompt(own, user))
        count = sum(bool(message.picture) for message in told) if own.vision else 0
        if not count:
            return await _Question(self._around, user, name, flight, stop, session, own, told).ask()
        # Each picture is copied several times on its way to the model.
        place = await self._around.picture_room.enter(count * self._settings.pictures.largest)
        try:
            seen = await self._with_pictures(told)
            if seen is None:
                missing = Breakdown(
                    reason=FailureReason.PICTURE, text="", detail="the picture could not be fetched"
                )
                return missing, AnswerUsage(own.name)
            place.shrink(sum(len(message.picture) for message in seen))
            return await _Question(self._around, user, name, flight, stop, session, own, seen).ask()
        finally:
            place.leave()

    def _system_prompt(self, assistant: Assistant, user: User) -> str:
        today = datetime.fromtimestamp(self._timeline.now())
        values = {
            "{date}": f"{today:%Y-%m-%d}",
            "{weekday}": f"星期{WEEKDAYS[today.weekday()]}",
            "{account}": user.account,
        }
        prompt = assistant.system_prompt
        for placeholder, value in values.items():
            prompt = prompt.replace(placeholder, value)
        return prompt

    async def _with_pictures(self, told: Sequence[Message]) -> Sequence[Message] | None:
        """Return the messages with their pictures fetched, or None without that of the question.

        WeChat keeps pictures for some days only: an earlier one that is gone is left out.
        """
        fetched = list(told)
        pictured = [place for place, message in enumerate(told) if message.picture]
        pictures = await gatherResults(
            [self._settings.pictures.fetch(told[place].picture) for place in pictured]
        )
        for place, picture in zip(pictured, pictures, strict=True):
            message = told[place]
            if picture is None and place == len(told) - 1:
                return None
            text = message.content or self._settings.page_texts.page_picture
            fetched[place] = (
                replace(message, picture=picture)
                if picture is not None
                else replace(message, content=text, picture="")
            )
        return fetched


class _Question:
    """One question on its way from one model to the next."""

    def __init__(
        self,
        around: Surroundings,
        user: User,
        name: DeliveryKey,
        flight: Flight,
        stop: Stop,
        session: Session,
        own: Assistant,
        told: Sequence[Message],
    ) -> None:
        self._around = around
        self._user = user
        self._name = name
        self._flight = flight
        self._stop = stop
        self._session = session
        self._own = own
        self._told = told
        self._cost = 0.0
        self._best: tuple[Breakdown, AnswerUsage] | None = None

    async def ask(self) -> tuple[Completion | Breakdown, AnswerUsage]:
        """Ask one model after the other until one answers."""
        candidates = self._candidates()
        if not candidates:
            spent = "the budget of the day is spent"
            nobody = Breakdown(reason=FailureReason.QUOTA, text="", detail=spent)
            return nobody, AnswerUsage(self._own.name)
        several, impatient, begun_anew = len(candidates) > 1, False, False
        why: list[tuple[str, str]] = []
        while True:
            assistant = candidates.pop(0)
            result, usage = await self._put(assistant, candidates, patient=impatient)
            if isinstance(result, Completion):
                return result, usage
            who = f"{assistant.name}: " if several else ""
            why.append((who + result.detail, who + result.logged))
            details, logged = zip(*dict.fromkeys(why), strict=True)
            failed = replace(result, detail="; ".join(details), summary="; ".join(logged))
            if failed.text:
                self._best = failed, usage
                if begun_anew or not self._may_begin_anew():
                    return failed, usage
                begun_anew = True
                if not candidates:
                    candidates = [assistant]
                    await deferLater(self._around.clock, BEGIN_ANEW_AFTER_S)
            elif failed.reason in _NOBODY_ELSE:
                return failed, usage
            elif not candidates and several and not impatient and self._waited_s() < RETRY_WITHIN_S:
                # Those who were to be quicker cannot; the first one may just have been slow.
                candidates, impatient = [self._own], True
            if not candidates:
                return self._last_word(failed, usage)
            log.warn(
                "{assistant} did not answer, {other} is asked now: {detail}",
                assistant=assistant.name,
                other="once more it" if candidates[0] is assistant else candidates[0].name,
                detail=result.logged,
                bounded_as=f"fallback {assistant.name}",
            )

    def _last_word(self, failed: Breakdown, usage: AnswerUsage) -> tuple[Breakdown, AnswerUsage]:
        """Return the failure, or the beginning of an answer that came before it."""
        if self._best is None:
            return failed, usage
        beginning, taken = self._best
        self._flight.rewrite(beginning.text)
        told = replace(beginning, detail=failed.detail, summary=failed.summary)
        return told, taken._replace(cost=self._cost)

    def _candidates(self) -> list[Assistant]:
        """Return who can be asked: with money left, and with eyes where there is a picture."""
        known = self._around.settings.assistants
        others = [known[name] for name in self._own.fallback if name in known]
        exhausted = self._around.spending.exhausted()
        pictured = bool(self._told[-1].picture)
        return [
            one
            for one in (self._own, *others)
            if one.name not in exhausted and (one.vision or not pictured)
        ]

    def _waited_s(self) -> float:
        """Return how long ago the question was asked."""
        asked_at = self._around.journal.state(self._user).question(self._name).asked_at
        return self._around.timeline.now() - asked_at

    def _may_begin_anew(self) -> bool:
        """Tell whether there is time, and nobody has been shown anything of the answer yet."""
        question = self._around.journal.state(self._user).question(self._name)
        shown = question.offered or question.page_opened
        return not shown and self._waited_s() < RETRY_WITHIN_S

    # One model.

    async def _put(
        self, assistant: Assistant, others: Sequence[Assistant], *, patient: bool
    ) -> tuple[Completion | Breakdown, AnswerUsage]:
        """Ask one model, once more with less if that was too much for it."""
        fitting = self._around.fitting
        chosen = self._session.model_of(assistant.name)
        model = chosen if chosen in assistant.models else ""
        told = self._told if assistant.vision else [self._blind(one) for one in self._told]
        if assistant.fits_window:
            told = self._with_limit(told, self._chars_in_time(assistant, model))
        sent, dropped = fitting.fitted(assistant, model, told)
        began = self._waited_s()
        result = await self._call(assistant, model, sent, others, dropped, began, patient=patient)
        if isinstance(result, Breakdown) and result.reason is FailureReason.TOO_LONG:
            fewer, more = fitting.with_less(assistant, model, sent, result)
            if more:
                log.info(
                    "{assistant}: too much for the model, asking again with {turns} turns fewer",
                    assistant=assistant.name,
                    turns=more,
                )
                sent, dropped = fewer, dropped + more
                result = await self._call(
                    assistant, model, sent, others, dropped, began, patient=patient
                )
        usage = fitting.usage(assistant, model, sent, result)
        self._cost += usage.cost
        return result, usage._replace(cost=round(self._cost, 9))

    async def _call(
        self,
        assistant: Assistant,
        model: str,
        sent: Sequence[Message],
        others: Sequence[Assistant],
        dropped: int,
        began: float,
        *,
        patient: bool,
    ) -> Completion | Breakdown:
        """Make one call; what it writes goes to whoever waits."""
        waited = self._waited_s()
        left = max(0.0, RETRY_WITHIN_S - waited)
        first_token_within_s = 0.0
        if others and not patient and self._own.first_token_within_s:
            # Each one behind it has to have a share of the time.
            share = min(self._own.first_token_within_s, left / (len(others) + 1))
            first_token_within_s = max(share - (waited - began), LEAST_FIRST_TOKEN_S)
        if dropped:
            trimmed = e.ContextTrimmed(
                at=self._around.timeline.now(), question=self._name, turns=dropped
            )
            self._around.journal.record(self._user, c.Note(trimmed))
        prompt = Prompt(
            messages=sent,
            model=model,
            retry_for_s=min(left, RETRY_BESIDE_FALLBACK_S) if others else left,
            first_token_within_s=first_token_within_s,
            asker=hash(self._user),
        )
        try:
            taker = self._taker(assistant, model, sent)
            thought_taker = self._thought_taker(assistant)
            return await assistant.model.ask(
                prompt, taker, thought_taker, lambda: self._flight.rewrite("")
            )
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 (a bug of ours is no reason to ask nobody else)
            log.failure("asking {assistant} failed unexpectedly", assistant=assistant.name)
            return Breakdown(
                reason=FailureReason.UNAVAILABLE, text="", detail="unexpected error, see the log"
            )

    def _taker(
        self, assistant: Assistant, model: str, sent: Sequence[Message]
    ) -> Callable[[str], None]:
        """Return what takes the pieces of an answer, and stops it where the words list objects."""
        watch = self._around.moderation.watch()
        written: list[str] = []

        def charge() -> AnswerUsage:
            taken = self._around.fitting.guessed(assistant, model, sent, "".join(written))
            return taken._replace(cost=round(self._cost + taken.cost, 9))

        self._flight.charge = charge

        def take(piece: str) -> None:
            if not written:
                self._flight.rewrite("")  # what another one had written before
            written.append(piece)
            if watch.objects(piece):
                self._stop(self._user, self._name, charge())
            else:
                self._flight.write(piece)

        return take

    def _thought_taker(self, assistant: Assistant) -> Callable[[str], None]:
        """Return what takes the pieces of what the model thinks.

        Where the words list objects to one, none is shown.
        """
        self._flight.unthink()
        if not assistant.show_reasoning:
            return ignore
        watch = self._around.moderation.watch()
        unfit: list[str] = []

        def take(piece: str) -> None:
            if unfit:
                return
            if watch.objects(piece):
                unfit.append(piece)
                self._flight.unthink()
            else:
                self._flight.think(piece)

        return take

    def _blind(self, message: Message) -> Message:
        if not message.picture:
            return message
        text = message.content or self._around.settings.page_texts.page_picture
        return replace(message, content=text, picture="")

    def _with_limit(self, told: Sequence[Message], chars: int) -> Sequence[Message]:
        """Return the messages; a limit for the answer, if any, is appended to the question."""
        question = told[-1]
        if not chars or not question.content:
            return told
        limited = answer_length.with_limit(question.content, chars)
        return [*told[:-1], replace(question, content=limited)]

    def _chars_in_time(self, assistant: Assistant, model: str) -> int:
        """Return how long an answer may be that comes in time for its window; 0 for any length."""
        around, user = self._around, self._user
        window = around.journal.state(user).windows.get(self._name)
        if not isinstance(window, Open):
            return 0
        now = around.timeline.now()
        left_s = reply_window.time_left(window, now, may_wait=around.may_wait(user.account, now))
        room = wording.room(around.settings.texts, around.link(user, self._name))
        pace = around.pace((assistant.name, model))
        return pace.chars_in(left_s - around.settings.reply_margin_s, room)
