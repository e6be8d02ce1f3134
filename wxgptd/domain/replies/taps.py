"""Links in the chat that send words when they are tapped, so that users need not type them.

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
    """Return a link shown as `label` that sends `words` when tapped; both are the operator's."""
    sent = _UNSAFE.sub(lambda found: quote(found.group(), safe=""), words)
    shown = (label or words).translate(_FULL_WIDTH)
    return _LINK.format(sent, shown)


class Placeholder:
    """The value that fills `{tap:WORDS|LABEL}` in a template."""

    def __format__(self, said: str) -> str:
        words, _, label = said.partition("|")
        return link(words, label)


def filled(text: str, *, links: bool = True) -> str:
    """Return `text`, which is not a template, with its taps replaced by `links` or by words."""
    if links:
        return _PLACEHOLDER.sub(lambda found: link(found[1], found[2] or ""), text)
    beside = _PLACEHOLDER.sub("", text)
    return _PLACEHOLDER.sub(lambda found: _in_words(found[1], found[2] or "", beside), text)


def in_words(template: str) -> str:
    """Return `template` with its taps replaced by words instead of links.

    A tap becomes its label, with the words to send in brackets unless the text names them anyway;
    without a label it becomes those words.
    """
    parts = list(Formatter().parse(template))
    beside = "".join(literal for literal, *_ in parts)
    written = []
    for literal, field, said, _ in parts:
        written.append(literal.replace("{", "{{").replace("}", "}}"))
        if field == "tap":
            words, _, label = (said or "").partition("|")
            written.append(_in_words(words, label, beside))
        elif field is not None:
            written.append(f"{{{field}}}")
    return "".join(written)


def _in_words(words: str, label: str, beside: str) -> str:
    if not label:
        return words
    named = rf"(?<![A-Za-z0-9_/]){re.escape(words)}(?![A-Za-z0-9_])"
    return label if re.search(named, beside) else f"{label}（{words}）"


def faults(said: str) -> Iterator[str]:
    """Yield the mistakes in the part of a placeholder after `{tap:`."""
    words, _, label = said.partition("|")
    if not words.strip():
        yield "has a {tap:} without words to send"
    if "{" in said or "}" in said:
        yield "has braces inside {tap:…}; only plain text is allowed"
    if "|" in label:
        yield "has a {tap:} with more than one | in it"
