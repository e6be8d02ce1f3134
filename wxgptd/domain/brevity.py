"""Answers that fit: how much a model can write before a reply window closes, and asking for that.

Where a model is told nothing, it writes as long as it likes, and half of the answer is on a page.
"""

from __future__ import annotations

from typing import NamedTuple

WEIGHT = 0.2
"""Of a new answer, against all earlier ones."""

ENOUGH_ANSWERS = 2
"""Of how many answers a model's pace must be known."""

RECKONED_CHARS = 20
"""Shorter answers tell nothing about a rate."""

SLACK_S = 0.5
"""What the way to the model and back may take longer than it did."""

OVERSHOT = 1.2
"""By how much models write more than they are asked for, as a rule of thumb."""

LEAST_CHARS = 40
"""In less nobody can say anything: then the answer may take its time."""

OFFER_CHARS = 60
"""How long the last sentence is, in which more is offered."""

BYTES_A_CHAR = 3
"""Of a Chinese character in UTF-8."""


class Pace(NamedTuple):
    """How quickly a model writes: seconds to the first text, and for each character.

    Each with how much it differs from answer to answer (mean deviation).
    """

    first_s: float = 0.0
    first_varies_s: float = 0.0
    char_s: float = 0.0
    char_varies_s: float = 0.0
    answers: int = 0

    def learned(self, first_s: float, took_s: float, chars: int) -> Pace:
        """Return the pace after one more answer; one that tells nothing changes nothing."""
        if chars < RECKONED_CHARS or not 0 <= first_s <= took_s:
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
        """Return how many characters to ask for, so that they are written in `left_s` seconds.

        As most answers go, and no more than a reply has room for. 0 if that is too few for an
        answer, or not known.
        """
        if self.answers < ENOUGH_ANSWERS:
            return 0
        writing_s = left_s - SLACK_S - self.first_s - self.first_varies_s
        char_s = self.char_s + self.char_varies_s
        most = room_bytes // BYTES_A_CHAR
        chars = int((most if writing_s > char_s * most else writing_s / char_s) / OVERSHOT)
        return chars // 10 * 10 if writing_s > 0 and chars >= LEAST_CHARS else 0


def _moved(mean: float, value: float) -> float:
    return mean + WEIGHT * (value - mean)


def offers_more(answer: str) -> bool:
    """Tell whether `answer` ends with the offer that it was asked for: more, by 继续."""
    return "继续" in answer.rstrip()[-OFFER_CHARS:]


def asked_for(question: str, chars: int) -> str:
    """Return `question` with the wish for an answer of at most so many characters.

    It stands behind the question, where it does not change the beginning of what the model is told:
    that can be cached by its server.
    """
    return (
        f"{question}\n\n（请用不超过 {chars} 个字回答：先给要点，句子要完整。"
        "如果还有值得展开的，最后用一句话说明回复“继续”可以接着看。）"
    )
