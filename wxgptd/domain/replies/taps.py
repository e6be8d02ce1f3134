"""Links in the chat that send words when they are tapped, so that users do not have to type them.

WeChat shows `<a href="weixin://bizmsgmenu?msgmenucontent=WORDS&msgmenuid=1">LABEL</a>` in a text as
blue LABEL; a tap on it sends WORDS as a message. WeChat renders its own menu messages this way, but
does not document it as a link: an old client may show LABEL as plain text. Every text must
therefore also spell out the words, in the label or beside it.

In the catalogue such a link is written `{tap:WORDS|LABEL}`, or `{tap:WORDS}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from string import Formatter
from urllib.parse import quote

_LINK = '<a href="weixin://bizmsgmenu?msgmenucontent={}&msgmenuid=1">{}</a>'
_UNSAFE = re.compile(r"""[\s"'<>&#%+=]""")
_FULL_WIDTH = str.maketrans("<>&", "＜＞＆")
_PLACEHOLDER = re.compile(r"(?<!\{)\{tap:([^{}|]*)(?:\|([^{}]*))?\}")


@lru_cache(maxsize=512)
def link(words: str, label: str = "") -> str:
    """Return a link shown as `label` that sends `words` when tapped; the operator chose both."""
    sent = _UNSAFE.sub(lambda match: quote(match.group(), safe=""), words)
    shown = (label or words).translate(_FULL_WIDTH)
    return _LINK.format(sent, shown)


class Placeholder:
    """The value that fills `{tap:WORDS|LABEL}` in a template."""

    def __format__(self, spec: str) -> str:
        words, _, label = spec.partition("|")
        return link(words, label)


def filled(text: str, *, links: bool = True) -> str:
    """Return `text`, not a template, with its taps as links, or as words without `links`."""
    if links:
        return _PLACEHOLDER.sub(lambda match: link(match[1], match[2] or ""), text)
    surrounding = _PLACEHOLDER.sub("", text)
    return _PLACEHOLDER.sub(lambda match: _in_words(match[1], match[2] or "", surrounding), text)


def without_taps(template: str) -> str:
    """Return `template` with its taps replaced by words instead of links.

    A tap becomes its label, with the words to send in brackets unless the text names them anyway;
    without a label it becomes those words.
    """
    parts = list(Formatter().parse(template))
    surrounding = "".join(literal for literal, *_ in parts)
    pieces = []
    for literal, field, spec, _ in parts:
        pieces.append(literal.replace("{", "{{").replace("}", "}}"))
        if field == "tap":
            words, _, label = (spec or "").partition("|")
            pieces.append(_in_words(words, label, surrounding))
        elif field is not None:
            pieces.append(f"{{{field}}}")
    return "".join(pieces)


def _in_words(words: str, label: str, surrounding: str) -> str:
    if not label:
        return words
    pattern = rf"(?<![A-Za-z0-9_/]){re.escape(words)}(?![A-Za-z0-9_])"
    return label if re.search(pattern, surrounding) else f"{label}（{words}）"


def faults(said: str) -> Iterator[str]:
    """Yield the mistakes in the part of a placeholder after `{tap:`."""
    words, _, label = said.partition("|")
    if not words.strip():
        yield "has a {tap:} without words to send"
    if "{" in said or "}" in said:
        yield "has braces inside {tap:…}; only plain text is allowed"
    if "|" in label:
        yield "has a {tap:} with more than one | in it"
