"""Links in the chat that send words when they are tapped, so that nobody has to type them.

WeChat shows `<a href="weixin://bizmsgmenu?msgmenucontent=WORDS&msgmenuid=1">LABEL</a>` in a text
as blue LABEL; a tap on it sends WORDS as a message. It is how WeChat renders its own menu
messages, and is not documented as a link: a client may show LABEL as plain text, or nothing. So
whoever writes a text names the words as well.

In a text of the catalogue it is written `{tap:WORDS|LABEL}`, or `{tap:WORDS}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

_LINK = '<a href="weixin://bizmsgmenu?msgmenucontent={}&msgmenuid=1">{}</a>'
_UNSAFE = re.compile(r"""[\s"'<>&#%+=]""")
_PLACEHOLDER = re.compile(r"(?<!\{)\{tap:([^{}|]*)(?:\|([^{}]*))?\}")


def link(words: str, label: str = "") -> str:
    """Return blue text `label` that sends `words` when tapped."""
    sent = _UNSAFE.sub(lambda found: quote(found.group(), safe=""), words)
    shown = (label or words).replace("<", "＜").replace("&", "＆")
    return _LINK.format(sent, shown)


class Placeholder:
    """What `{tap:WORDS|LABEL}` in a template is filled with."""

    def __format__(self, said: str) -> str:
        words, _, label = said.partition("|")
        return link(words, label)


def in_words(template: str) -> str:
    """Return `template` with words where it has taps, and no link.

    Those are the words to send, or the label where the text names the words to send anyway.
    """
    beside = _PLACEHOLDER.sub("", template)

    def shown(found: re.Match[str]) -> str:
        words, label = found.groups()
        return label if label and words in beside else words

    return _PLACEHOLDER.sub(shown, template)


def faults(said: str) -> Iterator[str]:
    """Yield what is wrong with the part of a placeholder behind `{tap:`."""
    words, _, label = said.partition("|")
    if not words.strip():
        yield "has a {tap:} without words to send"
    if "{" in said or "}" in said:
        yield "has a {tap:} with braces in it (only words may stand there)"
    if "|" in label:
        yield "has a {tap:} with more than one | in it"
