"""Format times, JSON, text for a terminal, and the daemon's status."""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

import click

from wxgpt.language import spoken, spoken_number
from wxgptd.untyped import JsonView
from wxgptd.wording import Wording, say_number

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


def date_time(at: float) -> str:
    """Return a date with its year, and a time, in the operator's time zone."""
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def printable(text: str) -> str:
    """Return `text` on one line, with unprintable characters replaced by spaces."""
    return "".join(char if char.isprintable() else " " for char in text)


COUNTED = (
    "answer", "attempt", "byte", "character", "check", "commit", "declined message", "error",
    "event", "fault", "message", "page reader", "segment", "session", "snapshot", "timeout",
    "turn", "user",
)  # fmt: skip
"""The nouns that `counted` counts."""


def counted(number: int, noun: str) -> Wording:
    """Return a number with its noun, one of `COUNTED`: `1 event`, `2 events`."""
    one = f"{{n:,}} {noun}"
    return say_number(number, one, f"{one}s")


def timeouts(accounts: JsonView) -> str:
    """Return each account's deliberate timeouts, from `/status`, as text."""
    return ", ".join(
        spoken(
            "{name} {left} of {budget} left", name=name, left=state["left"], budget=state["budget"]
        )
        + (spoken(" (auto)") if state["auto"] else "")
        + (
            spoken(", last suspended {at}", at=rfc3339(state["suspended_at"]))
            if state["suspended_at"]
            else ""
        )
        + (spoken(", suspension suspected") if state["suspected"] else "")
        for name, state in accounts.items()
    )


def unanswered(accounts: JsonView) -> str:
    """Return each account's unanswered messages, from `/status`, as text."""
    return ", ".join(
        spoken(
            "{name} {today} today, {yesterday} yesterday",
            name=name,
            today=counts["today"],
            yesterday=counts["yesterday"],
        )
        for name, counts in accounts.items()
    )


def fsync(times: JsonView) -> str:
    """Return the number of commits and their mean fdatasync time, from `/status`, as text."""
    commits = times["commits"]
    mean_ms = 1000 * times["sum_s"] / max(1, commits)
    return spoken(
        "{commits}, fsync {mean_ms:.2f} ms", commits=counted(commits, "commit"), mean_ms=mean_ms
    )


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


_TIMES = (
    ("d", 86_400, say_number(1, "{n} day", "{n} days")),
    ("h", 3_600, say_number(1, "{n} hour", "{n} hours")),
    ("m", 60, say_number(1, "{n} minute", "{n} minutes")),
)


def number(value: float) -> str:
    """Return a number with all its digits, and without an exponent."""
    return f"{Decimal(repr(value)).normalize():f}"


def duration(seconds: float) -> str:
    """Return a time as it is written in a configuration, such as 400ms, 5m or 2h."""
    for unit, size, _ in _TIMES:
        if seconds >= size and not seconds % size:
            return f"{number(seconds / size)}{unit}"
    return f"{number(seconds * 1000)}ms" if 0 < seconds < 1 else f"{number(seconds)}s"


def duration_in_words(seconds: float) -> str:
    """Return a time as people say it, such as 5 minutes."""
    for _, size, words in _TIMES:
        if seconds >= size and not seconds % size:
            return spoken_number(int(seconds // size), words.template, words.plural)
    return spoken("{seconds} s", seconds=number(seconds))


def about(seconds: int) -> str:
    """Return a time in words, rounded to the largest unit of which there are at least two."""
    size = next((size for _, size, _ in _TIMES if seconds >= 2 * size), 1)
    return duration_in_words(round(seconds / size) * size)


def row(text: str) -> None:
    """Print a row of a table, cut to the width of the terminal; whole if it is not one."""
    is_terminal = sys.stdout and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else len(text) * 2
    click.echo(shorten(text, width))


def page(lines: Iterable[str]) -> None:
    """Print lines, through a pager if they do not fit on the terminal."""
    text = "\n".join(lines)
    height = shutil.get_terminal_size().lines
    if sys.stdout and sys.stdout.isatty() and text.count("\n") >= height:
        click.echo_via_pager(text + "\n")
    else:
        click.echo(text)


_ATOM = re.compile(
    r"\s+|[（《「“]*(?:[^\s\u2e80-\uffff“”]+|[\u2e80-\uffff])[，。；：、！？）》」”,.;:!?)]*"
)
"""What wrapping does not break: a word, or a Chinese character, with the punctuation around it."""


def wrap(text: str, width: int) -> list[str]:
    """Return the lines of `text`, each at most `width` columns wide unless a word is wider."""
    lines, line, gap = [], "", ""
    for atom in _ATOM.findall(text):
        if atom.isspace():
            gap = " "
        elif line and columns(line + gap + atom) > width:
            lines.append(line)
            line, gap = atom, ""
        else:
            line, gap = line + gap + atom, ""
    return [*lines, line] if line else lines


def pad_left(text: str, width: int) -> str:
    """Return `text` padded on the left to `width` columns."""
    return " " * (width - columns(text)) + text


def pad(text: str, width: int) -> str:
    """Return `text` cut or padded to exactly `width` columns."""
    text = shorten(text, width)
    return text + " " * (width - columns(text))
