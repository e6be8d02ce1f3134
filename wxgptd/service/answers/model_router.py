"""Routes a question to the models: which is called first, and which next.

The session's own assistant comes first. If it fails, or has not started in time, its fallbacks get
the same question with the same context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.session import Question, Session
from wxgptd.domain.model.values import AnswerUsage, FailureReason
from wxgptd.domain.prompt.context import Message
from wxgptd.ports.models import Completion, ModelFailure, Prompt, ignore
from wxgptd.service.answers.candidates import Candidates
from wxgptd.service.answers.context_window import ContextWindow
from wxgptd.service.answers.inflight import Flight
from wxgptd.service.answers.moderation import Moderation
from wxgptd.service.answers.prompting import Prompting
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Assistant

log = Logger()

RETRY_WITHIN_S = 12.0
"""A retry later than this after the question would be too late for the chat."""

RESTART_DELAY_S = 0.5
"""Delay before calling the same model again after its answer was interrupted."""

RETRY_WITH_FALLBACK_S = 1.0
"""If a fallback can answer, retrying the same model is not worth a longer wait."""

MIN_FIRST_TOKEN_S = 1.0

_FINAL_FAILURES = frozenset(
    {FailureReason.CONTENT_FILTER, FailureReason.MODERATED, FailureReason.STOPPED}
)
"""Failures after which no other model is tried."""

Stop = Callable[[Flight, AnswerUsage], None]
"""Called with an answer that contains a banned word, and its token usage so far."""


class ModelRouter:
    """Calls models, and their fallbacks."""

    def __init__(
        self,
        journal: Journal,
        candidates: Candidates,
        prompting: Prompting,
        context_window: ContextWindow,
        moderation: Moderation,
        event_clock: EventClock,
    ) -> None:
        self.journal = journal
        self.candidates = candidates
        self.prompting = prompting
        self.context_window = context_window
        self.moderation = moderation
        self.event_clock = event_clock

    async def ask(
        self, flight: Flight, stop: Stop
    ) -> tuple[Completion | ModelFailure, AnswerUsage]:
        """Get one question answered; `stop` is called if the answer contains a banned word."""
        user, question = flight.user, flight.question
        lookup = self.journal.state(user).find(question)
        assert lookup is not None
        session, _ = lookup
        own = self.candidates.own(session.assistant)
        if own is None:
            detail = f"[assistant.{session.assistant}] is no longer configured"
            unconfigured = ModelFailure(reason=FailureReason.MISCONFIGURED, text="", detail=detail)
            return unconfigured, AnswerUsage(session.assistant)
        async with self.prompting.messages(user, session, question, own) as messages:
            if messages is None:
                detail = "the picture could not be fetched"
                missing = ModelFailure(reason=FailureReason.PICTURE, text="", detail=detail)
                return missing, AnswerUsage(own.name)
            return await _Question(self, flight, stop, session, own, messages).ask()


class _Question:
    """One question as it passes from one model to the next."""

    def __init__(
        self,
        router: ModelRouter,
        flight: Flight,
        stop: Stop,
        session: Session,
        own: Assistant,
        messages: Sequence[Message],
    ) -> None:
        self._router = router
        self._flight = flight
        self._stop = stop
        self._session = session
        self._own = own
        self._messages = messages
        self._cost = 0.0
        self._partial: tuple[ModelFailure, AnswerUsage] | None = None
        self._running: Deferred[Completion | ModelFailure] | None = None
        self._is_too_late = False

    async def ask(self) -> tuple[Completion | ModelFailure, AnswerUsage]:
        """Call one model after another until one answers."""
        candidates = self._router.candidates.of(self._own, self._messages[-1])
        if not candidates:
            detail = "the daily budget is used up"
            exhausted = ModelFailure(reason=FailureReason.QUOTA, text="", detail=detail)
            return exhausted, AnswerUsage(self._own.name)
        several, patient, restarted = len(candidates) > 1, False, False
        failures: list[tuple[str, str]] = []
        while True:
            assistant = candidates.pop(0)
            result, usage = await self._ask_one(assistant, candidates, patient=patient)
            if isinstance(result, Completion):
                return result, usage
            if self._is_too_late:
                return self._final_failure(result, usage)
            prefix = f"{assistant.name}: " if several else ""
            failures.append((prefix + result.detail, prefix + result.logged))
            details, logged = zip(*dict.fromkeys(failures), strict=True)
            failed = replace(result, detail="; ".join(details), summary="; ".join(logged))
            if failed.text:
                self._partial = failed, usage
                if restarted or not self._may_restart():
                    return failed, usage
                restarted = True
                if not candidates:
                    candidates = [assistant]
                    await deferLater(self._router.event_clock.clock, RESTART_DELAY_S)
            elif failed.reason in _FINAL_FAILURES:
                return failed, usage
            elif not candidates and several and not patient and self._waited_s() < RETRY_WITHIN_S:
                # The fallbacks have failed, and the first assistant may just have been slow.
                candidates, patient = [self._own], True
            if not candidates:
                return self._final_failure(failed, usage)
            log.warn(
                "{assistant} did not answer, trying {other}: {detail}",
                id="fallback",
                assistant=assistant.name,
                other="it again" if candidates[0] is assistant else candidates[0].name,
                detail=result.logged,
                bounded_as=f"fallback {assistant.name}",
            )

    def _final_failure(
        self, failed: ModelFailure, usage: AnswerUsage
    ) -> tuple[ModelFailure, AnswerUsage]:
        """Return the failure, or the partial answer of a model that was called earlier."""
        if self._partial is None:
            return failed, usage
        partial, partial_usage = self._partial
        self._flight.rewrite(partial.text)
        failed = replace(partial, detail=failed.detail, summary=failed.summary)
        return failed, partial_usage._replace(cost=self._cost)

    def _waited_s(self) -> float:
        """Return how many seconds ago the question was asked."""
        return self._router.event_clock.now() - self._question().asked_at

    def _may_restart(self) -> bool:
        """Return whether there is still time and no part of the answer has been shown."""
        return not self._is_shown() and self._waited_s() < RETRY_WITHIN_S

    def _is_shown(self) -> bool:
        """Return whether a part of the answer has been offered or its page was opened."""
        question = self._question()
        return question.offered > 0 or question.page_opened

    def _question(self) -> Question:
        return self._router.journal.state(self._flight.user).question(self._flight.question)

    # One model.

    async def _ask_one(
        self, assistant: Assistant, others: Sequence[Assistant], *, patient: bool
    ) -> tuple[Completion | ModelFailure, AnswerUsage]:
        """Call one model, and retry once with fewer turns if the prompt was too long for it."""
        window = self._router.context_window
        chosen = self._session.model_of(assistant.name)
        model = chosen if chosen in assistant.models else ""
        messages = self._messages
        if not assistant.vision:
            messages = [self._router.prompting.blind(message) for message in messages]
        if assistant.fits_window:
            messages = window.with_length_limit(assistant, model, messages, self._flight)
        sent, dropped = window.fitted(assistant, model, messages)
        began_s = self._waited_s()
        result = await self._call(assistant, model, sent, others, dropped, began_s, patient=patient)
        if isinstance(result, ModelFailure) and result.reason is FailureReason.TOO_LONG:
            fewer, newly_dropped = window.shortened(assistant, model, sent, result)
            if newly_dropped:
                log.info(
                    "{assistant}: prompt too long, retrying without the oldest turns ({turns})",
                    id="prompt-shortened",
                    assistant=assistant.name,
                    turns=newly_dropped,
                )
                sent, dropped = fewer, dropped + newly_dropped
                result = await self._call(
                    assistant, model, sent, others, dropped, began_s, patient=patient
                )
        usage = window.usage(assistant, model, sent, result)
        self._cost += usage.cost
        return result, usage._replace(cost=round(self._cost, 9))

    async def _call(
        self,
        assistant: Assistant,
        model: str,
        sent: Sequence[Message],
        others: Sequence[Assistant],
        dropped: int,
        began_s: float,
        *,
        patient: bool,
    ) -> Completion | ModelFailure:
        """Make one call; its text goes to the flight."""
        waited_s = self._waited_s()
        left_s = max(0.0, RETRY_WITHIN_S - waited_s)
        first_token_within_s = 0.0
        if others and not patient and self._own.first_token_within_s:
            # Each assistant after this one needs a share of the time.
            share_s = min(self._own.first_token_within_s, left_s / (len(others) + 1))
            first_token_within_s = max(share_s - (waited_s - began_s), MIN_FIRST_TOKEN_S)
        if dropped:
            now, question = self._router.event_clock.now(), self._flight.question
            trimmed = e.ContextTrimmed(at=now, question=question, turns=dropped)
            self._router.journal.record(self._flight.user, c.RecordFact(trimmed))
        prompt = Prompt(
            messages=sent,
            model=model,
            retry_for_s=min(left_s, RETRY_WITH_FALLBACK_S) if others else left_s,
            first_token_within_s=first_token_within_s,
            asker=hash(self._flight.user),
        )
        try:
            on_text = self._on_text(assistant, model, sent)
            on_thought = self._on_thought(assistant)
            self._running = assistant.model.ask(
                prompt, on_text, on_thought, lambda: self._flight.rewrite("")
            )
            return await self._running
        except CancelledError:
            if self._is_too_late and self._partial is not None:
                return replace(self._partial[0], text="")
            raise
        except Exception:  # noqa: BLE001 (a bug here must not stop the fallbacks from being tried)
            log.failure(
                "calling {assistant} failed unexpectedly", id="unexpected", assistant=assistant.name
            )
            return ModelFailure(
                reason=FailureReason.UNAVAILABLE, text="", detail="unexpected error, see the log"
            )

    def _on_text(
        self, assistant: Assistant, model: str, sent: Sequence[Message]
    ) -> Callable[[str], None]:
        """Return a callback that receives the answer in pieces and stops it at a banned word."""
        watch = self._router.moderation.watch()
        written: list[str] = []

        def charge() -> AnswerUsage:
            usage = self._router.context_window.estimated_usage(
                assistant, model, sent, "".join(written)
            )
            return usage._replace(cost=round(self._cost + usage.cost, 9))

        self._flight.charge = charge

        def take(piece: str) -> None:
            if not written and self._partial is not None and self._is_shown():
                # The next part has to continue what has been shown.
                self._is_too_late = True
                if self._running is not None:
                    self._running.cancel()
                return
            if not written:
                self._flight.rewrite("")  # discards what another model wrote
            written.append(piece)
            if watch.objects(piece):
                self._stop(self._flight, charge())
            else:
                self._flight.write(piece)

        return take

    def _on_thought(self, assistant: Assistant) -> Callable[[str], None]:
        """Return a callback that receives the model's thoughts in pieces.

        If they contain a banned word, none are shown.
        """
        self._flight.discard_thoughts()
        if not assistant.show_reasoning:
            return ignore
        watch = self._router.moderation.watch()
        rejected: list[str] = []

        def take(piece: str) -> None:
            if rejected:
                return
            if watch.objects(piece):
                rejected.append(piece)
                self._flight.discard_thoughts()
            else:
                self._flight.think(piece)

        return take
