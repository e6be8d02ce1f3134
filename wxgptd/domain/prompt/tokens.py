"""Estimate how many tokens a text has, without any model's vocabulary.

The first estimate is a guess; later ones follow the token usage that the server reports: a model's
prompts have about as many tokens per byte as its earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from wxgptd.domain.model.values import AssistantName
from wxgptd.domain.prompt.context import Message

FIRST_GUESS = 0.5
"""Tokens per byte of UTF-8: enough for prose in six vocabularies, Chinese or not."""

MESSAGE_TOKENS = 8
"""Overhead of each message, in tokens."""

PICTURE_TOKENS = 1_000

LEARN_FROM_BYTES = 200
"""Shorter prompts consist mostly of the overhead of their messages."""

_REMEMBERED_BYTES = 50_000
"""Older reports lose their weight after about this many bytes of prompts."""


def estimate(text: str) -> int:
    """Return roughly how many tokens `text` has.

    Current vocabularies use about one token per four characters of English, and two per three of
    Chinese.
    """
    narrow = len(text.encode("ascii", "ignore"))
    return ceil(narrow / 4 + (len(text) - narrow) / 1.5)


def size(messages: Sequence[Message]) -> int:
    """Return the length of the messages' text, in bytes of UTF-8."""
    return sum(len(message.content.encode("utf-8", "replace")) for message in messages)


ModelName = tuple[AssistantName, str]
"""A model: its assistant, and its name there, which is empty for the assistant's first model."""


class Calibration:
    """The tokens per byte that servers have reported for each model, weighted by bytes."""

    def __init__(self) -> None:
        self.known: dict[ModelName, tuple[float, float]] = {}

    def learn(self, model: ModelName, prompt_bytes: int, prompt_tokens: int) -> None:
        """Record how many tokens a prompt had, as the server reported."""
        if prompt_bytes < LEARN_FROM_BYTES or not 0 < prompt_tokens <= 4 * prompt_bytes:
            return  # too short to be informative, or an implausible count
        bytes_seen, tokens_seen = self.known.get(model, (0.0, 0.0))
        weight = min(1.0, _REMEMBERED_BYTES / (bytes_seen + prompt_bytes))
        self.known[model] = weight * bytes_seen + prompt_bytes, weight * tokens_seen + prompt_tokens

    def tokens(self, model: ModelName, messages: Sequence[Message]) -> int:
        """Return roughly how many tokens the messages have for `model`."""
        pictures = sum(PICTURE_TOKENS for message in messages if message.picture)
        bytes_seen, tokens_seen = self.known.get(model, (0.0, 0.0))
        if not bytes_seen:
            return ceil(size(messages) * FIRST_GUESS) + MESSAGE_TOKENS * len(messages) + pictures
        # The ratio includes the overhead of messages.
        return ceil(size(messages) * tokens_seen / bytes_seen) + pictures
