"""Answers that fit: how much a model can write before a reply window closes.

Without a limit a model writes as much as it likes, and half of the answer ends up on a page. So the
question asks for an answer of a certain length.
"""

from __future__ import annotations

import re
from typing import NamedTuple

EWMA_WEIGHT = 0.2
"""EWMA weight of the newest answer."""

MIN_SAMPLES = 2
"""Minimum number of answers before a pace is trusted."""

MIN_SAMPLE_CHARS = 20
"""Shorter answers are too short to measure a pace."""

LONGEST_S = 86_400.0

LEAST_CHAR_S = 1e-5
"""The minimum, because an answer that arrives in one piece takes no time per character."""

SLACK_S = 0.5
"""Allowance for network latency."""

OVERSHOOT = 1.2
"""Models tend to write this many times the requested length."""

MIN_CHARS = 40
"""Below this a limit is pointless; the answer may be any length."""

OFFER_CHARS = 60
"""How many final characters are searched for an offer to continue."""

_OFFER = re.compile(r"(?:回复|发送|输入|说)[：:\s]{0,2}[“\"「『‘'`*]{0,3}继续")

BYTES_PER_CHAR = 3
"""Bytes per Chinese character in UTF-8."""


class Pace(NamedTuple):
    """How quickly a model writes: seconds to the first text, and seconds per character.

    Each comes with its mean deviation across answers.
    """

    first_s: float = 0.0
    first_varies_s: float = 0.0
    char_s: float = 0.0
    char_varies_s: float = 0.0
    answers: int = 0

    def learned(self, first_s: float, took_s: float, chars: int) -> Pace:
        """Return the pace after one more answer; an uninformative one changes nothing."""
        if chars < MIN_SAMPLE_CHARS or not 0 <= first_s <= took_s < LONGEST_S:
            return self
        char_s = (took_s - first_s) / chars
        if not self.answers:
            return Pace(first_s, 0.0, char_s, 0.0, 1)
        return Pace(
            _moved(self.first_s, first_s),
            _moved(self.first_varies_s, abs(first_s - self.first_s)),
            _moved(self.char_s, char_s),
            _moved(self.char_varies_s, abs(char_s - self.char_s)),
            self.answers + 1,
        )

    def chars_in(self, left_s: float, room_bytes: int) -> int:
        """Return how many characters to ask for, so that most answers finish in `left_s` seconds.

        At most what fits in a reply; 0 if that is too few for an answer, or the pace is unknown.
        """
        if self.answers < MIN_SAMPLES:
            return 0
        writing_s = left_s - SLACK_S - self.first_s - self.first_varies_s
        if writing_s <= 0:
            return 0
        char_s = max(self.char_s + self.char_varies_s, LEAST_CHAR_S)
        max_chars = room_bytes // BYTES_PER_CHAR
        chars = int(
            (max_chars if writing_s > char_s * max_chars else writing_s / char_s) / OVERSHOOT
        )
        return chars // 10 * 10 if chars >= MIN_CHARS else 0


_LIMIT = re.compile(r"\n\n（请用不超过 (\d+) 个字回答：.*）$", re.DOTALL)


def limit_in(asked: str) -> tuple[str, int]:
    """Return the question without the request that `with_limit` added, and its limit, or 0."""
    match = _LIMIT.search(asked)
    return (asked[: match.start()], int(match[1])) if match else (asked, 0)


def _moved(mean: float, value: float) -> float:
    return mean + EWMA_WEIGHT * (value - mean)


def offers_more(answer: str) -> bool:
    """Return whether `answer` ends by offering more in reply to 继续, as the model was asked to."""
    return _OFFER.search(answer.rstrip()[-OFFER_CHARS:]) is not None


def with_limit(question: str, chars: int) -> str:
    """Return `question` with the request to answer in at most `chars` characters.

    Appended after the question, so the prompt's prefix stays the same and the provider's prompt
    cache still hits.
    """
    return (
        f"{question}\n\n（请用不超过 {chars} 个字回答：先给要点，句子要完整。"
        "如果还有值得展开的，最后用一句话说明回复“继续”可以接着看。）"
    )
