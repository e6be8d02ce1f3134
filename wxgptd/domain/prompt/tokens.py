"""How many tokens a text has, without any model's vocabulary.

A guess to begin with, and then what the server reports of what it was sent: prompts of one model
have about as many tokens a byte as its earlier ones had.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from wxgptd.domain.model.values import AssistantName
from wxgptd.domain.prompt.context import Message

FIRST_GUESS = 0.5
"""Tokens for each byte of UTF-8: enough for prose in six vocabularies, Chinese or not."""

MESSAGE_TOKENS = 8
"""What a message costs beside its words."""

PICTURE_TOKENS = 1_000

LEARN_FROM_BYTES = 200
"""Shorter prompts are mostly what messages cost beside their words."""

_REMEMBERED_BYTES = 50_000
"""How many bytes of prompts the newest reports outweigh."""


def estimate(text: str) -> int:
    """Return about how many tokens `text` is.

    Vocabularies of today have about one token for four characters of English, and two for three
    of Chinese.
    """
    narrow = len(text.encode("ascii", "ignore"))
    return ceil(narrow / 4 + (len(text) - narrow) / 1.5)


def size(told: Sequence[Message]) -> int:
    """Return how many bytes of UTF-8 the words of `told` are."""
    return sum(len(one.content.encode("utf-8", "replace")) for one in told)


ModelName = tuple[AssistantName, str]
"""A model: its assistant, and which of that one's; empty for the first."""


class Calibration:
    """What models have reported so far: tokens for each byte, weighed by the bytes."""

    def __init__(self) -> None:
        self.known: dict[ModelName, tuple[float, float]] = {}

    def learn(self, model: ModelName, prompt_bytes: int, prompt_tokens: int) -> None:
        """Take a server's word for how many tokens a prompt had."""
        if prompt_bytes < LEARN_FROM_BYTES or not 0 < prompt_tokens <= 4 * prompt_bytes:
            return  # too short to tell, or nothing that anybody has counted
        seen, counted = self.known.get(model, (0.0, 0.0))
        kept = min(1.0, _REMEMBERED_BYTES / (seen + prompt_bytes))
        self.known[model] = kept * seen + prompt_bytes, kept * counted + prompt_tokens

    def tokens(self, model: ModelName, told: Sequence[Message]) -> int:
        """Return about how many tokens `told` is for `model`."""
        pictures = sum(PICTURE_TOKENS for one in told if one.picture)
        seen, counted = self.known.get(model, (0.0, 0.0))
        if not seen:
            return ceil(size(told) * FIRST_GUESS) + MESSAGE_TOKENS * len(told) + pictures
        return ceil(size(told) * counted / seen) + pictures  # what messages cost is in the ratio
