"""The request parameters besides the question, adapted to what a server accepts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_TOKENS = "max_tokens"
NEWER_MAX_TOKENS = "max_completion_tokens"
STREAM_OPTIONS = "stream_options"


class Parameters:
    """The request parameters besides the question, minus those that the server rejected.

    Servers accept different parameters, and reveal which only by failing a request. From then on,
    a parameter that the error names is left out. If the error asks for the newer name of
    `max_tokens`, that is used instead; if it states a maximum, the value is lowered to it.
    """

    def __init__(self, parameters: Mapping[str, object]) -> None:
        self._parameters = dict(parameters)

    def sent(self, max_tokens: int = 0) -> Mapping[str, object]:
        """Return the parameters to send; `max_tokens` lowers their maximum, 0 leaves it."""
        return {
            name: min(max_tokens, value)
            if max_tokens and name in (MAX_TOKENS, NEWER_MAX_TOKENS) and isinstance(value, int)
            else value
            for name, value in self._parameters.items()
        }

    def give_way(self, complaint: str, sent: Mapping[str, object], asked: str = "") -> str:
        """Adapt the parameters to an error about `sent`; return the change as text, or "".

        If they have changed since, because of another question, nothing is left to change. A name
        that occurs in the question, `asked`, may just be quoted from it, and is no reason to change
        what is sent for everyone.
        """
        adjustable = {name: value for name, value in self._parameters.items() if name not in asked}
        if sent.keys() != self._parameters.keys():
            return "parameters already changed because of another question"
        if (
            MAX_TOKENS in adjustable
            and NEWER_MAX_TOKENS in complaint
            and NEWER_MAX_TOKENS not in asked
        ):
            self._parameters[NEWER_MAX_TOKENS] = self._parameters.pop(MAX_TOKENS)
            return f"sending {NEWER_MAX_TOKENS} instead of {MAX_TOKENS} from now on"
        for name, value in adjustable.items():
            if not _is_about(complaint, name):
                continue
            maximum = _MAXIMUM.search(complaint)
            if name in (MAX_TOKENS, NEWER_MAX_TOKENS) and maximum and isinstance(value, int):
                lower = int(maximum[1].replace(",", ""))
                if 0 < lower < value:
                    self._parameters[name] = lower
                    return f"lowered {name} to {lower}"
            del self._parameters[name]
            return f"no longer sending {name}"
        return ""


_MAXIMUM = re.compile(
    r"(?:at most|maximum(?: allowed)?(?: value)?(?: is| of)?|less than or equal to|<=|up to)\s*"
    r"([0-9][0-9,]{0,8})",
    re.IGNORECASE,
)


def _is_about(complaint: str, parameter: str) -> bool:
    """Return whether an error is about `parameter`, and does not just contain the word."""
    name = re.escape(parameter)
    return bool(
        re.search(rf"""["'`.\[]{name}["'`\]:]""", complaint)
        or re.search(
            rf"(?i:parameters?|fields?|arguments?|inputs?|options?|property|body)[:. ]+{name}\b",
            complaint,
        )
        or re.search(
            rf"(?i:unsupported|unknown|unrecognized|unexpected|invalid|extra)\b[^.]{{0,40}}\b{name}\b",
            complaint,
        )
        or re.search(
            rf"\b{name}\b[^.]{{0,30}}(?i:not supported|unsupported|unknown|not permitted"
            r"|not allowed|is too|must be|should be)",
            complaint,
        )
    )
