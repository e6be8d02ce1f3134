"""Decode text files, regardless of which editor saved them."""

from __future__ import annotations

import codecs

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
        at = f"byte {error.start + len(mark)}"
        name = "UTF-16, despite its byte order mark" if "16" in _MARKS.get(mark, "") else "UTF-8"
        raise ValueError(f"is not {name} ({at}): save it as UTF-8") from None
