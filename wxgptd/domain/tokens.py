"""How many tokens a text has, without any model's vocabulary.

A guess to begin with, and then what the server reports of what it was sent: prompts of one model
have about as many tokens a byte as its earlier ones had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from wxgptd.domain.context import Message

FIRST_GUESS = 0.5
"""Tokens for each byte of UTF-8: enough for prose in six vocabularies, Chinese or not."""

MESSAGE_TOKENS = 8
"""What a message costs beside its words."""

PICTURE_TOKENS = 1_000

_WEIGHT = 0.2
"""How much the newest report counts beside all earlier ones."""


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


class Calibration:
    """What models have reported so far: tokens for each byte."""

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}

    def learn(self, model: str, prompt_bytes: int, prompt_tokens: int) -> None:
        """Take a server's word for how many tokens a prompt had."""
        if prompt_bytes < 1 or prompt_tokens < 1:
            return
        ratio = min(max(prompt_tokens / prompt_bytes, 0.05), 2.0)
        known = self._ratios.get(model)
        self._ratios[model] = ratio if known is None else known + _WEIGHT * (ratio - known)

    def ratios(self) -> Mapping[str, float]:
        """Return tokens for each byte, for each model."""
        return self._ratios

    def tokens(self, model: str, told: Sequence[Message]) -> int:
        """Return about how many tokens `told` is for `model`."""
        pictures = sum(PICTURE_TOKENS for one in told if one.picture)
        ratio = self._ratios.get(model)
        if ratio is None:
            return ceil(size(told) * FIRST_GUESS) + MESSAGE_TOKENS * len(told) + pictures
        return ceil(size(told) * ratio) + pictures  # what messages cost is in the ratio
