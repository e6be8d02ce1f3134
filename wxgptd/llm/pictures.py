"""Pictures that a model writes into its text as data URIs: megabytes of unreadable text. Pure.

Neither the chat nor a page can show them, and in the conversation they would fill the context
window of the next question. So each is replaced with a placeholder before any other code sees it.
"""

from __future__ import annotations

import re

from wxgptd.markdown.reading import PICTURE_SIGN

LEAST_CHARS = 200
"""Shorter data URIs outside Markdown's picture syntax are assumed to be code examples."""

_PICTURE = r"!?\[[^\[\]\n]{0,200}\]\([ ]?<?data:[a-z]{1,20}/"
_BARE = (
    r"data:[a-z]{1,20}/[\w.+-]{1,60}(?:;[\w=.-]{1,40}){0,2};base64,"
    rf"[\w+/=%-]{{{LEAST_CHARS}}}"
)
_OPENING = re.compile(rf"(?P<picture>{_PICTURE})|{_BARE}", re.IGNORECASE | re.ASCII)
_UNDECIDED = re.compile(
    r"(?:!|!?\[[^\[\]\n]{0,200}(?:\](?:\([ ]?<?(?:d|da|dat|data|data:[a-z]{0,20})?)?)?"
    rf"|d(?:a(?:t(?:a(?::[\w.+;=/-]{{0,160}}(?:,[\w+/=%-]{{0,{LEAST_CHARS - 1}}})?)?)?)?)?)\Z",
    re.IGNORECASE | re.ASCII,
)
"""Matches trailing text that may turn out to be the start of a picture."""

_PICTURE_END = re.compile(
    r"\)|\n\s*(?=[^\w+/=%)\s])|\n[^\S\n]*\n|(?=[\u3000-\u303f\uff00-\uffef])", re.ASCII
)
"""The closing parenthesis or, if it is missing, text that cannot be more data."""
_BARE_END = re.compile(r"[^\w+/=%-]", re.ASCII)


class PictureFilter:
    """Replaces each picture with a placeholder, in text that arrives in pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._end: re.Pattern[str] | None = None
        """Matches the end of the picture that is being removed."""

    @property
    def holds(self) -> bool:
        """Whether text is held back until more arrives."""
        return bool(self._held)

    def feed(self, piece: str) -> str:
        """Return the text that is now final, given the next `piece`."""
        text = self._held + piece
        self._held = ""
        output: list[str] = []
        while text:
            if self._end is not None:
                text = self._skip_picture(text)
                continue
            opening = _OPENING.search(text)
            if opening is None:
                undecided = _UNDECIDED.search(text)
                end = undecided.start() if undecided is not None else len(text)
                self._held = text[end:]
                output.append(text[:end])
                break
            output += text[: opening.start()], PICTURE_SIGN
            self._end = _PICTURE_END if opening["picture"] else _BARE_END
            text = text[opening.end() :]
        return "".join(output)

    def _skip_picture(self, text: str) -> str:
        """Return `text` without the part that belongs to the picture."""
        assert self._end is not None
        end = self._end.search(text)
        if end is None:
            line_end = text.rfind("\n")
            if line_end >= 0 and not text[line_end:].strip():
                self._held = text[line_end:]  # the next piece determines whether the picture ends
            return ""
        is_its_own = self._end is _PICTURE_END and end[0] == ")"
        self._end = None
        return text[end.end() if is_its_own else end.start() :]

    def close(self) -> str:
        """Return the held-back text that turned out not to be a picture."""
        held, self._held = self._held, ""
        return held if self._end is None else held.rstrip()
