"""Format times, JSON, text for a terminal, and the daemon's status."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime

import click

from wxgptd.untyped import JsonView

_ACTED_ON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that JSON allows unescaped but a terminal acts on: C1 and bidi controls."""


def dumps(said: object) -> str:
    """Return JSON on one line, with Chinese left readable and terminal controls escaped."""
    text = json.dumps(said, ensure_ascii=False)
    text = _ACTED_ON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text.encode("utf-8", "backslashreplace").decode()


def rfc3339(at: float) -> str:
    """Return a time in UTC, to the millisecond."""
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


def clock_time(at: float, *, utc: bool) -> str:
    """Return a short date and time, in the operator's time zone or in UTC."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment if utc else moment.astimezone():%m-%d %H:%M:%S}"


def printable(text: str) -> str:
    """Return `text` on one line, with unprintable characters replaced by spaces."""
    return "".join(char if char.isprintable() else " " for char in text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 event`, `2 events`."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def timeouts(accounts: JsonView) -> str:
    """Return each account's deliberate timeouts, from `/status`, as text."""
    return ", ".join(
        f"{name} {state['left']} of {state['budget']} left{' (auto)' if state['auto'] else ''}"
        + (f", last suspended {rfc3339(state['suspended_at'])}" if state["suspended_at"] else "")
        + (", suspension suspected" if state["suspected"] else "")
        for name, state in accounts.items()
    )


def unanswered(accounts: JsonView) -> str:
    """Return each account's unanswered messages, from `/status`, as text."""
    return ", ".join(
        f"{name} {counts['today']} today, {counts['yesterday']} yesterday"
        for name, counts in accounts.items()
    )


def fsync(times: JsonView) -> str:
    """Return the number of commits and their mean fdatasync time, from `/status`, as text."""
    commits = times["commits"]
    mean_ms = 1000 * times["sum_s"] / max(1, commits)
    return f"{counted(commits, 'commit')}, fsync {mean_ms:.2f} ms"


def spent(costs: Mapping[str, float]) -> dict[str, float]:
    """Return the non-zero costs."""
    return {name: cost for name, cost in costs.items() if cost}


_TAP = re.compile(r'<a href="weixin://bizmsgmenu[^"]*">([^<]*)</a>')


def with_taps_shown(reply: str) -> str:
    """Return `reply` as a phone shows it, with taps in [brackets], blue on a colour terminal."""
    return _TAP.sub(
        lambda match: click.style(f"[{match.group(1)}]", fg="blue", underline=True), reply
    )


def multiline(text: str) -> str:
    """Return `text` with its line breaks, and spaces for other unprintable characters."""
    return "\n".join(printable(line) for line in text.split("\n"))


def columns(text: str) -> int:
    """Return the width of `text` in terminal columns."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """Return `text` cut to `width` columns, ending in an ellipsis if it was cut."""
    if columns(text) <= width:
        return text
    used, chars = 0, []
    for char in text:
        used += _columns(char)
        if used > width - 1:
            break
        chars.append(char)
    return "".join(chars) + "…"


def pad(text: str, width: int) -> str:
    """Return `text` cut or padded to exactly `width` columns."""
    text = shorten(text, width)
    return text + " " * (width - columns(text))
