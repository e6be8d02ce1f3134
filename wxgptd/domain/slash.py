"""What a line of chat means before any state is looked at.

Commands are case-insensitive, and the full-width slash that Chinese input methods produce is
as good as the plain one. Words behind an opening command are the session's first question;
words behind any other command make it a line of chat, as they would in `/etc/hosts`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from wxgptd.domain.values import AssistantName

CONTINUE_WORDS = frozenset({"继续", "/more", "continue"})


@dataclass(frozen=True, slots=True)
class Open:
    """Open a session with `assistant`, and ask `question` if there is one."""

    assistant: AssistantName
    question: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End the session."""


@dataclass(frozen=True, slots=True)
class Clear:
    """End the session and open another one with the same assistant."""


@dataclass(frozen=True, slots=True)
class History:
    """Ask for the link to one's own history."""


@dataclass(frozen=True, slots=True)
class Help:
    """Ask what can be said."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Ask for the next part of an answer."""


@dataclass(frozen=True, slots=True)
class ChooseModel:
    """Have another model answer; empty to ask which there are."""

    model: str


@dataclass(frozen=True, slots=True)
class Say:
    """Anything else."""


Line = Open | Stop | Clear | History | Help | Continue | ChooseModel | Say

_FIXED: Mapping[str, Line] = {
    "/stop": Stop(),
    "/clear": Clear(),
    "/history": History(),
    "/help": Help(),
}
MODEL_WORD = "/model"
RESERVED_WORDS = frozenset(_FIXED) | CONTINUE_WORDS | {MODEL_WORD}
"""What an assistant's command must not be."""


def parse(text: str, assistants: Mapping[str, AssistantName]) -> Line:
    """Tell what `text` asks for; `assistants` maps lower-case commands to assistants."""
    line = text.strip()
    if line.startswith("／"):
        line = "/" + line[1:]
    folded = line.lower()
    fixed = _FIXED.get(folded)
    if fixed is not None:
        return fixed
    if folded in CONTINUE_WORDS:
        return Continue()
    if folded in assistants:
        return Open(assistants[folded], "")
    if folded.startswith(f"{MODEL_WORD}%20"):
        line = line.replace("%20", " ")  # some clients send a tapped link's words as they are
    words = re.split(r"\s", line, maxsplit=1)
    if len(words) > 1 and words[0].lower() in assistants:
        return Open(assistants[words[0].lower()], words[1].strip())
    if words[0].lower() == MODEL_WORD:
        return ChooseModel(words[1].strip() if len(words) > 1 else "")
    return Say()
