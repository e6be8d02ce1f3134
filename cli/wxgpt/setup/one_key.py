"""Set or remove one key in the text of a configuration, and change nothing else.

Lines are added or removed, and the result is parsed: it must mean what is wanted. What that cannot
change, tomlkit does. It regards the comments at the end of a table as a part of it, so the result
is accepted only if they stay where they are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from wxgpt.failures import UsageFailure
from wxgptd.wording import say

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

    from wxgptd.untyped import Given

MOST_TRIES = 50
MOST_LINES = 200


def with_value(text: str, key: str, value: Given) -> str:
    """Return the text of a configuration with `key` set; a table is added as needed.

    Nothing else changes: no other value, and no comment.

    Raises:
        UsageFailure: there is no way to do that.
    """
    *tables, last = _parts(key)
    wanted = tomllib.loads(text)
    table = wanted
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise _inside_a_value(key)
    table[last] = value
    for attempt in _with_a_line(text, tables, last, value):
        if _means(attempt, wanted):
            return attempt
    document: Given = document_of(text)
    table = document
    for name in tables:
        if name not in table:
            raise _inside_a_value(key)
        table = table[name]
    table[last] = _item(value)
    return _checked(key, text, document.as_string(), wanted)


def without(text: str, key: str) -> str:
    """Return the text of a configuration without `key`; nothing else changes.

    Raises:
        UsageFailure: it is not in the document, or there is no way to do that.
    """
    *tables, last = _parts(key)
    wanted = tomllib.loads(text)
    table: Given = wanted
    for name in tables:
        table = table.get(name, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict) or last not in table:
        raise UsageFailure(say("{key} is not set in the file", key=key))
    del table[last]
    for attempt in _without_lines(text, tables, last):
        if _means(attempt, wanted):
            return attempt
    document: Given = document_of(text)
    table = document
    for name in tables:
        table = table[name]
    del table[last]
    return _checked(key, text, document.as_string(), wanted)


def without_table(text: str, name: str) -> str:
    """Return the text of a configuration without the table `name`; the rest stays as it is.

    Raises:
        UsageFailure: there is no way to do that.
    """
    wanted = tomllib.loads(text)
    del wanted[name]
    for attempt in _without_lines(text, (), name):
        if _means(attempt, wanted):
            return attempt
    document = document_of(text)
    del document[name]
    return _checked(name, text, document.as_string(), wanted)


def _inside_a_value(key: str) -> UsageFailure:
    return UsageFailure(
        say("{key} is in a list of tables or in a value", key=key), hint="wxgpt config edit"
    )


def _checked(key: str, before: str, after: str, wanted: Given) -> str:
    if _means(after, wanted) and _comments_stay(before, after):
        return after
    raise UsageFailure(
        say("{key} cannot be changed without moving something else", key=key),
        hint="wxgpt config edit",
    )


def _with_a_line(text: str, tables: Sequence[str], key: str, value: Given) -> Iterator[str]:
    """Yield texts with one more line or table, one of which may be right."""
    lines = text.splitlines(keepends=True)
    line = f"{key} = {_item(value).as_string()}\n"
    for begin, end in _sections(lines, tables):
        for n in range(begin, end):
            if re.match(rf"\s*#\s*{re.escape(key)}\s*=", lines[n]):  # an example of it
                yield _joined(lines[: n + 1], line, lines[n + 1 :])
        last = _last_filled(lines, begin, end)  # what is below that is about the next table
        yield _joined(lines[: last + 1], line, lines[last + 1 :])
    before = f"{text.rstrip()}\n\n" if text.strip() else text
    yield f"{before}[{'.'.join(tables)}]\n{line}"


def _without_lines(text: str, tables: Sequence[str], key: str) -> Iterator[str]:
    """Yield texts without the lines of a value or of a table, one of which may be right."""
    lines = text.splitlines(keepends=True)
    for begin, end in _sections(lines, tables):
        for n in range(begin + 1, end):
            if re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", lines[n]):
                # A value can have several lines.
                for last in range(n + 1, min(end, n + MOST_LINES) + 1):
                    yield _joined(lines[:n], "", lines[last:])
    for begin, end in _sections(lines, [*tables, key]):
        yield _joined(lines[:begin], "", lines[_last_filled(lines, begin, end) + 1 :])


def _joined(before: Sequence[str], line: str, after: Sequence[str]) -> str:
    head = "".join(before)
    gap = "\n" if head and not head.endswith("\n") else ""
    return f"{head}{gap}{line}{''.join(after)}"


def _last_filled(lines: Sequence[str], begin: int, end: int) -> int:
    """Return the last line from `begin` to `end` that is neither empty nor a comment."""
    return max(n for n in range(begin, end) if lines[n].strip() and lines[n].lstrip()[0] != "#")


def _sections(lines: Sequence[str], tables: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where the table may begin and end, by its header and a later one.

    A line of an array or of a text can look like a header: the result must be checked.
    """
    names = r"\s*\.\s*".join(rf"""["']?{re.escape(name)}["']?""" for name in tables)
    header = re.compile(rf"\s*\[\s*{names}\s*\]\s*(#.*)?")
    headers = [n for n, line in enumerate(lines) if line.lstrip().startswith("[")]
    for begin in headers:
        if header.fullmatch(lines[begin].rstrip()):
            for end in [*[n for n in headers if n > begin][:MOST_TRIES], len(lines)]:
                yield begin, end


def _means(text: str, wanted: Given) -> bool:
    try:
        return bool(_filled(tomllib.loads(text)) == _filled(wanted))
    except tomllib.TOMLDecodeError:
        return False


def _filled(value: Given) -> Given:
    """Return a value without the empty tables in it, which mean nothing."""
    if not isinstance(value, dict):
        return value
    inner = {name: _filled(each) for name, each in value.items()}
    return {name: each for name, each in inner.items() if each != {}}


def _comments_stay(before: str, after: str) -> bool:
    """Return whether each comment line still stands above the same line, if that is left."""
    lines = set(after.splitlines())
    left = _notes(after)
    for comment, below in _notes(before):
        stays = (note for note in left if note[0] == comment)
        if below in lines or not below:
            stays = (note for note in stays if note[1] == below)
        found = next(stays, None)
        if found is None:
            return False
        left.remove(found)
    return True


def _notes(text: str) -> list[tuple[str, str]]:
    """Return each line that is a comment with the next line that is none, or ""."""
    notes, below = [], ""
    for line in reversed(text.splitlines()):
        if line.lstrip().startswith("#"):
            notes.append((line, below))
        elif line.strip():
            below = line
    return notes


def _item(value: Given) -> Given:
    """Return a value for tomlkit; a table is written in one line."""
    import tomlkit

    if not isinstance(value, Mapping):
        return tomlkit.item(value)
    table = tomlkit.inline_table()
    table.update({name: _item(inner) for name, inner in value.items()})
    return table


def document_of(text: str) -> TOMLDocument:
    """Return a configuration with its comments.

    Raises:
        UsageFailure: TOML that cannot be changed without rewriting it.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise UsageFailure(
            say("the configuration cannot be changed here: {why}", why=error),
            hint="wxgpt config edit",
        ) from None


def _parts(key: str) -> list[str]:
    parts = key.split(".")
    if not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in parts) or len(parts) < 2:
        raise UsageFailure(
            say("{key!r} is not a key, such as session.ttl or assistant.chatgpt.model", key=key),
            hint=say("`wxgpt config get` lists all"),
        )
    return parts
