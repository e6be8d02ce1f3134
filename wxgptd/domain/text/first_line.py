"""Titles made from a text: the beginning of its first line. Pure."""

from __future__ import annotations


def first_line(text: str, most: int) -> str:
    """Return the first line of `text` that is not blank, or its first `most` characters and "…"."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= most else f"{line[:most].rstrip()}…"
