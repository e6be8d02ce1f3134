"""Make text from models and users inert, so that WeChat turns none of it into a link. Pure.

WeChat shows `<a href="…">` in a text reply as a link with any label: one that opens a page, or one
that sends `/clear` when it is tapped (`weixin://bizmsgmenu`). What a model or a user wrote must not
become one. So a `<` that could begin such a tag, an entity that could represent it, and the colon
of WeChat's own schemes are replaced by their full-width forms: an example in HTML still reads as
HTML. Each character is replaced by exactly one, so that positions in a text do not change.

This must be the last step applied to a text: removing anything later may join `<` and `a`.
"""

from __future__ import annotations

import re

_UNSEEN = (
    r"[\x00-\x20\x7f-\xa0\xad\u0300-\u036f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2000-\u200f"
    r"\u2028-\u202f\u205f-\u206f\u20d0-\u20f0\u3000\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*+"
)
"""Whitespace and invisible characters: a client may skip them, and an intermediary may remove
them."""

_A = rf"{_UNSEEN}a(?![0-9a-z])"
_SCHEME = "|".join(_UNSEEN.join(name) for name in ("weixin", "wechat"))
_LESS_THAN = "|".join(
    _UNSEEN.join(parts)
    for parts in (
        ["l", "t"],
        ["#", rf"(?:0{_UNSEEN})*+6", "0"],
        ["#", "x", rf"(?:0{_UNSEEN})*+3", "c"],
    )
)
"""The entities for `<`, without their ampersand."""
_PART_OF_LESS_THAN = "|".join(
    _UNSEEN.join(parts)
    for parts in (
        ["l?"],
        ["#?"],
        ["#", rf"(?:0{_UNSEEN})*+6?"],
        ["#", "x", rf"(?:0{_UNSEEN})*+3?"],
    )
)

_LINK = re.compile(
    rf"<(?={_A})"
    rf"|&(?={_UNSEEN}(?:{_LESS_THAN}){_UNSEEN};?{_A})"
    rf"|(?:{_SCHEME}){_UNSEEN}:(?={_UNSEEN}/{_UNSEEN}/)",
    re.IGNORECASE | re.ASCII,
)

_UNDECIDED = re.compile(
    rf"<{_UNSEEN}a?\Z"
    rf"|&{_UNSEEN}(?:(?:{_PART_OF_LESS_THAN})|(?:{_LESS_THAN}){_UNSEEN};?{_UNSEEN}a?){_UNSEEN}\Z"
    rf"|(?:{_SCHEME}){_UNSEEN}:{_UNSEEN}/?{_UNSEEN}\Z",
    re.IGNORECASE | re.ASCII,
)

_SHOWN = {"<": "＜", "&": "＆", ":": "："}


def inert(text: str, *, growing: bool = False) -> str:
    """Return `text` with no links except bare addresses, and with its length unchanged.

    For a `growing` text, return the prefix that no continuation can change.
    """
    shown = _LINK.sub(lambda match: match[0][:-1] + _SHOWN[match[0][-1]], text)
    if growing and (undecided := _UNDECIDED.search(text)):
        return shown[: undecided.start()]
    return shown
