"""Put one question to the models: what they are told, who is asked next, what it cost.

The session's own assistant is asked first; where it fails, or has not begun in time, its
fallbacks are, with the same question and the same context. What does not fit a model is left
out, oldest turns first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from wxgptd.domain import commands as c
from wxgptd.domain import context, tokens
from wxgptd.domain.context import Message
from wxgptd.domain.session import Session
from wxgptd.domain.tokens import Calibration
from wxgptd.domain.values import AssistantName, DeliveryKey, FailureReason, User
from wxgptd.ports import Breakdown, Completion, Pictures, Prompt
from wxgptd.service.inflight import Flight
from wxgptd.service.journal import Journal
from wxgptd.service.moderation import Moderation
from wxgptd.service.settings import Assistant, Settings
from wxgptd.service.timeline import Timeline

log = Logger()

RETRY_WITHIN_S = 12.0
"""A retry that begins later than this after the question could not be answered in the chat."""

BEGIN_ANEW_AFTER_S = 0.5
"""How long to wait before a model whose answer broke off is asked once more."""

RETRY_BESIDE_FALLBACK_S = 1.0
"""Where somebody else can answer, asking again is hardly worth the wait."""

_NOBODY_ELSE_S = frozenset({FailureReason.REFUSED, FailureReason.MODERATED, FailureReason.STOPPED})
"""What another model should not be asked about."""

WEEKDAYS = "一二三四五六日"


@dataclass(frozen=True, slots=True)
class Facts:
    """Who answered, and what it took."""

    assistant: AssistantName
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    prompt_bytes: int = 0
    cost: float = 0.0


class Asking:
    """Asks models."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        pictures: Pictures,
        moderation: Moderation,
        calibration: Calibration,
        clock: IReactorTime,
        timeline: Timeline,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._pictures = pictures
        self._moderation = moderation
        self._calibration = calibration
        self.clock = clock
        self._timeline = timeline
        self._limits: dict[AssistantName, int] = {}

    async def ask(
        self,
        user: User,
        name: DeliveryKey,
        flight: Flight,
        stop: Callable[[User, DeliveryKey, int], None],
    ) -> tuple[Completion | Breakdown, Facts]:
        """Have one question answered; `stop` is called where the words list objects to that."""
        found = self._journal.state(user).find(name)
        assert found is not None
        session, _ = found
        own = self._settings.assistants.get(session.assistant)
        if own is None:
            detail = f"no [assistant.{session.assistant}] is configured any more"
            gone = Breakdown(reason=FailureReason.MISCONFIGURED, text="", detail=detail)
            return gone, Facts(session.assistant)
        told = context.messages(session, name, self._system_prompt(own, user))
        sighted = own.vision or any(
            self._settings.assistants[other].vision
            for other in own.fallback
            if other in self._settings.assistants
        )
        seen = await self._with_pictures(told) if sighted else told
        if seen is None:
            missing = Breakdown(
                reason=FailureReason.PICTURE, text="", detail="the picture could not be fetched"
            )
            return missing, Facts(own.name)
        return await _Question(self, user, name, flight, stop, session, own, seen).ask()

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
            [self._pictures.fetch(told[place].picture) for place in pictured]
        )
        for place, picture in zip(pictured, pictures, strict=True):
            message = told[place]
            if picture is None and place == len(told) - 1:
                return None
            text = message.content or self._settings.texts.page_picture
            fetched[place] = (
                replace(message, picture=picture)
                if picture is not None
                else replace(message, content=text, picture="")
            )
        return fetched

    # One model.

    async def put(
        self, question: _Question, assistant: Assistant, prompt: Prompt
    ) -> tuple[Completion | Breakdown, Facts]:
        """Ask one model, once more with less if that was too much for it."""
        tokens_of = partial(self._calibration.tokens, assistant.name)
        limit = self._limits.get(assistant.name, assistant.max_context_tokens)
        messages, dropped = context.fitted(prompt.messages, limit, tokens_of)
        question.note_trimmed(dropped)
        result = await question.put(assistant, replace(prompt, messages=messages))
        if isinstance(result, Breakdown) and result.reason is FailureReason.TOO_LONG:
            limit = self._learn_limit(assistant, result, tokens_of(messages))
            fewer, more_dropped = context.fitted(messages, limit, tokens_of)
            if more_dropped:
                log.info(
                    "{assistant}: too much for the model, asking again with {turns} turns less",
                    assistant=assistant.name,
                    turns=more_dropped,
                )
                question.note_trimmed(dropped + more_dropped)
                messages = fewer
                result = await question.put(assistant, replace(prompt, messages=messages))
        return result, self._facts(assistant, messages, result)

    def _learn_limit(self, assistant: Assistant, refused: Breakdown, sent: int) -> int:
        """Return, and remember, how much the model takes: what it says, and half of what failed."""
        said = refused.context_limit
        limit = sent // 2
        if said:
            limit = min(limit, max(said - assistant.max_tokens, said // 2))
        self._limits[assistant.name] = max(limit, 1)
        return self._limits[assistant.name]

    def _facts(
        self, assistant: Assistant, messages: Sequence[Message], result: Completion | Breakdown
    ) -> Facts:
        if isinstance(result, Breakdown):
            if not result.text:
                return Facts(assistant.name)
            prompt = self._calibration.tokens(assistant.name, messages)
            return Facts(assistant.name, prompt, tokens.estimate(result.text), estimated=True)
        estimated = not (result.prompt_tokens and result.completion_tokens)
        prompt = result.prompt_tokens or self._calibration.tokens(assistant.name, messages)
        completion = result.completion_tokens or tokens.estimate(result.text)
        return Facts(
            assistant=assistant.name,
            prompt_tokens=prompt,
            completion_tokens=completion,
            estimated=estimated,
            prompt_bytes=0 if any(one.picture for one in messages) else tokens.size(messages),
            cost=assistant.price.of(prompt, completion),
        )

    # What a question needs of this.

    @property
    def settings(self) -> Settings:
        """What is configured."""
        return self._settings

    def waited_s(self, user: User, name: DeliveryKey) -> float:
        """Return how long ago the question was asked."""
        return self._timeline.now() - self._journal.state(user).question(name).asked_at

    def may_begin_anew(self, user: User, name: DeliveryKey) -> bool:
        """Tell whether nobody has been shown anything of the answer yet."""
        question = self._journal.state(user).question(name)
        return not question.offered and not question.page_opened

    def record_trimmed(self, user: User, name: DeliveryKey, turns: int) -> None:
        """Put on record that older turns were left out."""
        self._journal.record(
            user, c.TrimContext(at=self._timeline.now(), question=name, turns=turns)
        )

    def moderated(
        self,
        assistant: Assistant,
        messages: Sequence[Message],
        write: Callable[[str], None],
        stop: Callable[[int], None],
    ) -> Callable[[str], None]:
        """Return what takes the pieces of an answer, and stops it where the words list objects.

        `stop` is told about how many tokens it took until then.
        """
        watch = self._moderation.watch()
        written: list[str] = []

        def take(piece: str) -> None:
            written.append(piece)
            if watch.objects(piece):
                told = self._calibration.tokens(assistant.name, messages)
                stop(told + tokens.estimate("".join(written)))
            else:
                write(piece)

        return take


class _Question:
    """One question on its way from one model to the next."""

    def __init__(
        self,
        asking: Asking,
        user: User,
        name: DeliveryKey,
        flight: Flight,
        stop: Callable[[User, DeliveryKey, int], None],
        session: Session,
        own: Assistant,
        told: Sequence[Message],
    ) -> None:
        self._asking = asking
        self._user = user
        self._name = name
        self._flight = flight
        self._stop = stop
        self._session = session
        self._own = own
        self._told = told

    async def ask(self) -> tuple[Completion | Breakdown, Facts]:
        """Ask one model after the other until one answers."""
        assistants = self._asking.settings.assistants
        others = [assistants[name] for name in self._own.fallback if name in assistants]
        candidates = [self._own, *others]
        begun_anew = False
        why: list[str] = []
        while True:
            assistant = candidates.pop(0)
            result, facts = await self._asking.put(
                self, assistant, self._prompt(assistant, candidates)
            )
            if isinstance(result, Completion):
                return result, facts
            why.append(f"{assistant.name}: {result.detail}" if others else result.detail)
            result = replace(result, detail="; ".join(why))
            if result.text:
                late = self._asking.waited_s(self._user, self._name) > RETRY_WITHIN_S
                shown = not self._asking.may_begin_anew(self._user, self._name)
                if late or shown or begun_anew:
                    return result, facts
                begun_anew = True
                self._flight.discard()
                if not candidates:
                    candidates = [assistant]
                    await deferLater(self._asking.clock, BEGIN_ANEW_AFTER_S)
            elif not candidates or result.reason in _NOBODY_ELSE_S:
                return result, facts
            log.warn(
                "{assistant} did not answer, {other} is asked now: {detail}",
                assistant=assistant.name,
                other="it" if candidates[0] is assistant else candidates[0].name,
                detail=result.detail,
            )

    def _prompt(self, assistant: Assistant, others: Sequence[Assistant]) -> Prompt:
        retry_for_s = max(0.0, RETRY_WITHIN_S - self._asking.waited_s(self._user, self._name))
        own = assistant.name == self._own.name
        told = (
            self._told if assistant.vision else [self._without_picture(one) for one in self._told]
        )
        return Prompt(
            messages=told,
            model=self._session.model if own else "",
            retry_for_s=min(retry_for_s, RETRY_BESIDE_FALLBACK_S) if others else retry_for_s,
            first_token_within_s=self._own.first_token_within_s if others else 0.0,
        )

    def _without_picture(self, message: Message) -> Message:
        if not message.picture:
            return message
        text = message.content or self._asking.settings.texts.page_picture
        return replace(message, content=text, picture="")

    async def put(self, assistant: Assistant, prompt: Prompt) -> Completion | Breakdown:
        """Ask one model; what it writes goes to whoever waits."""
        take = self._asking.moderated(
            assistant,
            prompt.messages,
            self._flight.write,
            partial(self._stop, self._user, self._name),
        )
        return await assistant.model.ask(prompt, take)

    def note_trimmed(self, turns: int) -> None:
        """Have the user told, once in a session, that older turns were left out."""
        if turns:
            self._asking.record_trimmed(self._user, self._name, turns)
