"""What fits a model, and what an answer of it took and cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from wxgptd.domain.model.values import AnswerUsage
from wxgptd.domain.prompt import context, tokens
from wxgptd.domain.prompt.context import Message
from wxgptd.domain.prompt.tokens import Calibration, ModelName
from wxgptd.ports.models import Breakdown, Completion
from wxgptd.service.answers.inflight import Flight
from wxgptd.service.answers.pacing import Pacing
from wxgptd.service.state.settings import Assistant

MAX_TOKENS_A_BYTE = 4
"""More than that no server can have counted: its report is not believed."""


class ContextWindow:
    """Fits messages to models; remembers until the next start what servers say that they take."""

    def __init__(self, calibration: Calibration, pacing: Pacing) -> None:
        self._calibration = calibration
        self._pacing = pacing
        self._limits: dict[ModelName, int] = {}

    def in_time(
        self, assistant: Assistant, model: str, told: Sequence[Message], flight: Flight
    ) -> Sequence[Message]:
        """Return `told`, so that the answer fits the reply window of its question."""
        name = assistant.name, model
        return self._pacing.limited(told, flight.user, flight.question, name)

    def fitted(
        self, assistant: Assistant, model: str, told: Sequence[Message]
    ) -> tuple[Sequence[Message], int]:
        """Return what of `told` fits, and how many turns were left out."""
        found_out = self._limits.get((assistant.name, model), 0)
        limits = [one for one in (found_out, assistant.max_context_tokens) if one]
        limit = min(limits, default=0)
        return context.fitted(
            told, limit, partial(self._calibration.tokens, (assistant.name, model))
        )

    def with_less(
        self, assistant: Assistant, model: str, sent: Sequence[Message], refused: Breakdown
    ) -> tuple[Sequence[Message], int]:
        """Return half of what was too much, or what the server says that it takes.

        Only where the server names its limit is that remembered: a refusal may have had another
        reason.
        """
        tokens_of = partial(self._calibration.tokens, (assistant.name, model))
        size, said = tokens_of(sent), refused.context_limit
        fewer, dropped = context.fitted(sent, max(size // 2, 1), tokens_of)
        if said and dropped:
            # By our own count it may have fitted: then that is too low.
            room = max(said - assistant.max_tokens, said // 2)
            self._limits[assistant.name, model] = min(room, size * 3 // 4)
        return fewer, dropped

    def usage(
        self,
        assistant: Assistant,
        model: str,
        sent: Sequence[Message],
        result: Completion | Breakdown,
    ) -> AnswerUsage:
        """Return what an attempt took: as reported, else as we guess; nothing if it never began."""
        if isinstance(result, Breakdown):
            return (
                self.guessed(assistant, model, sent, result.text)
                if result.text
                else AnswerUsage(assistant.name)
            )
        size = tokens.size(sent)
        pictured = any(one.picture for one in sent)
        reported = 0 < result.prompt_tokens <= MAX_TOKENS_A_BYTE * (size + 1_000) or pictured
        most = MAX_TOKENS_A_BYTE * max(assistant.max_tokens, len(result.text))
        if not (reported and result.prompt_tokens and 0 < result.completion_tokens <= most):
            return self.guessed(assistant, model, sent, result.text)
        prompt, completion = result.prompt_tokens, result.completion_tokens
        return AnswerUsage(
            assistant=assistant.name,
            prompt_tokens=prompt,
            completion_tokens=completion,
            prompt_bytes=0 if pictured else size,
            cost=assistant.price.of(prompt, completion),
        )

    def guessed(
        self, assistant: Assistant, model: str, sent: Sequence[Message], text: str
    ) -> AnswerUsage:
        """Return what an attempt took that nobody reports."""
        prompt = self._calibration.tokens((assistant.name, model), sent)
        completion = tokens.estimate(text)
        return AnswerUsage(
            assistant=assistant.name,
            prompt_tokens=prompt,
            completion_tokens=completion,
            estimated=True,
            cost=assistant.price.of(prompt, completion),
        )
