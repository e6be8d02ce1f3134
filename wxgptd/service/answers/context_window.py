"""What fits a model's context window, and an answer's token usage and cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from wxgptd.domain.model.values import AnswerUsage
from wxgptd.domain.prompt import context, tokens
from wxgptd.domain.prompt.context import Message
from wxgptd.domain.prompt.tokens import Calibration, ModelName
from wxgptd.ports.models import Completion, ModelFailure
from wxgptd.service.answers.inflight import Flight
from wxgptd.service.answers.pacing import Pacing
from wxgptd.service.state.settings import Assistant

MAX_TOKENS_PER_BYTE = 4
"""A report of more than this cannot be right, and is ignored."""


class ContextWindow:
    """Fits messages to models; until a restart, remembers the limits that servers report."""

    def __init__(self, calibration: Calibration, pacing: Pacing) -> None:
        self._calibration = calibration
        self._pacing = pacing
        self._limits: dict[ModelName, int] = {}

    def with_length_limit(
        self, assistant: Assistant, model: str, messages: Sequence[Message], flight: Flight
    ) -> Sequence[Message]:
        """Return `messages` with a request for an answer that fits its question's reply window."""
        name = assistant.name, model
        return self._pacing.limited(messages, flight.user, flight.question, name)

    def fitted(
        self, assistant: Assistant, model: str, messages: Sequence[Message]
    ) -> tuple[Sequence[Message], int]:
        """Return the part of `messages` that fits, and how many turns were left out."""
        reported_limit = self._limits.get((assistant.name, model), 0)
        limits = [tokens for tokens in (reported_limit, assistant.max_context_tokens) if tokens]
        limit = min(limits, default=0)
        return context.fitted(
            messages, limit, partial(self._calibration.tokens, (assistant.name, model))
        )

    def shortened(
        self, assistant: Assistant, model: str, sent: Sequence[Message], refused: ModelFailure
    ) -> tuple[Sequence[Message], int]:
        """Return half of a prompt that was too long, and how many turns were left out.

        A limit is remembered only if the server named it: the error may have had another cause.
        """
        tokens_of = partial(self._calibration.tokens, (assistant.name, model))
        size, named_limit = tokens_of(sent), refused.context_limit
        fewer, dropped = context.fitted(sent, max(size // 2, 1), tokens_of)
        if named_limit and dropped:
            # If the prompt fitted by our own count, our count is too low.
            usable = max(named_limit - assistant.max_tokens, named_limit // 2)
            self._limits[assistant.name, model] = min(usable, size * 3 // 4)
        return fewer, dropped

    def usage(
        self,
        assistant: Assistant,
        model: str,
        sent: Sequence[Message],
        result: Completion | ModelFailure,
    ) -> AnswerUsage:
        """Return the reported token usage, or an estimate; none if there was no answer."""
        if isinstance(result, ModelFailure):
            return (
                self.estimated_usage(assistant, model, sent, result.text)
                if result.text
                else AnswerUsage(assistant.name)
            )
        size = tokens.size(sent)
        has_pictures = any(message.picture for message in sent)
        plausible = 0 < result.prompt_tokens <= MAX_TOKENS_PER_BYTE * (size + 1_000) or has_pictures
        max_completion = MAX_TOKENS_PER_BYTE * max(assistant.max_tokens, len(result.text))
        if not (
            plausible and result.prompt_tokens and 0 < result.completion_tokens <= max_completion
        ):
            return self.estimated_usage(assistant, model, sent, result.text)
        prompt, completion = result.prompt_tokens, result.completion_tokens
        return AnswerUsage(
            assistant=assistant.name,
            prompt_tokens=prompt,
            completion_tokens=completion,
            prompt_bytes=0 if has_pictures else size,
            cost=assistant.price.of(prompt, completion),
        )

    def estimated_usage(
        self, assistant: Assistant, model: str, sent: Sequence[Message], text: str
    ) -> AnswerUsage:
        """Return the estimated token usage, for a server that reports none."""
        prompt = self._calibration.tokens((assistant.name, model), sent)
        completion = tokens.estimate(text)
        return AnswerUsage(
            assistant=assistant.name,
            prompt_tokens=prompt,
            completion_tokens=completion,
            estimated=True,
            cost=assistant.price.of(prompt, completion),
        )
