"""Decode text files, regardless of which editor saved them."""

from __future__ import annotations

import codecs

from wxgptd.wording import say

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""The byte order marks that Windows' Notepad and PowerShell write."""


def decoded(data: bytes) -> str:
    """Return `data` as text: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        ValueError: it is neither; the message says what to do.
    """
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    try:
        return data[len(mark) :].decode(_MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        at = error.start + len(mark)
        if "16" in _MARKS.get(mark, ""):
            what = say(
                "is not UTF-16, despite its byte order mark (byte {at}): save it as UTF-8", at=at
            )
        elif _is_gbk(data):
            what = say(
                "is in GBK: save it as UTF-8, or: iconv -f GB18030 -t UTF-8 FILE > NEW (byte {at})",
                at=at,
            )
        else:
            what = say("is not UTF-8 (byte {at}): save it as UTF-8", at=at)
        raise ValueError(what) from None


def _is_gbk(data: bytes) -> bool:
    """Return whether `data` is text in GBK: common Chinese characters prove it."""
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return False
    return any("\u4e00" <= char <= "\u9fff" for char in text) and "\x00" not in text
