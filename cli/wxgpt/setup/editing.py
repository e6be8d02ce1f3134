"""Change the configuration: comments are kept, the result is checked first, and can be undone.

The version before the last change is kept beside the file, as `NAME.previous`.
"""

from __future__ import annotations

import codecs
import difflib
import os
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wxgpt.failures import UsageFailure
from wxgptd.wording import say

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

    from wxgptd.config import Config
    from wxgptd.untyped import Given

MASK = "***"
MOST_TRIES = 50
_SECRET = re.compile(
    r"""(?x)^([ +-]?\s*\#?\s*["']?(?:[\w.-]+\.)?(?:token|aes_key|previous_aes_key|app_secret
    |api_key|proxy|credentials|master_key|extra_headers[\w."'-]*)["']?\s*=\s*)
    (?!["'](?:file|env|credential):).+"""
)
"""A line that sets a secret, except to a reference; also if it is a comment."""


_QUERY = re.compile(r"""(?i)(https?://[^\s"'?]*\?)[^\s"']+""")
"""A URL with a query, which often has a key in it."""


def read_text(path: Path) -> str:
    """Return the configuration's text, with its line endings, if it is valid TOML.

    Raises:
        ConfigError: it is not TOML.
    """
    from wxgptd.config.encodings import decoded

    text = decoded(path.read_bytes())
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        check(text, path)  # says what is wrong, and where
        raise
    return text


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


def replace_file(path: Path, data: str | bytes, like: Path | None = None) -> None:
    """Replace `path` atomically, keeping its owner and mode (or those of `like`)."""
    from wxgptd.eventlog.segments import sync_directory

    status = (like or path).stat()
    # An unpredictable name, so that no other user can have created the file.
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data.encode() if isinstance(data, str) else data)
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, status.st_mode & 0o777)
        os.fsync(descriptor)
    except BaseException:
        fresh.unlink()
        raise
    finally:
        os.close(descriptor)
    fresh.rename(path)
    sync_directory(path.parent)


def previous_of(path: Path) -> Path:
    """Return where the version before the last change is kept."""
    path = path.resolve()
    return path.with_name(f"{path.name}.previous")


def check(text: str, path: Path) -> Config:
    """Return the configuration that `text` would be at `path`.

    Raises:
        ConfigError: the text is invalid; lists every mistake with its key.
    """
    from wxgptd.config import parse

    return parse(text, path, mode=path.stat().st_mode, elsewhere=True)


def save(path: Path, text: str, before: bytes) -> None:
    """Replace the configuration, and keep the version before, which was shown to the operator.

    Raises:
        UsageFailure: it has been changed since.
    """
    path = path.resolve()
    if path.read_bytes() != before:
        raise UsageFailure(
            say("{path} was changed meanwhile; nothing was saved", path=path), hint=say("try again")
        )
    replace_file(previous_of(path), before, like=path)
    replace_file(path, _like(before, text))


def _like(before: bytes, text: str) -> bytes:
    """Return the text with the line endings and the byte order mark that the file had."""
    if b"\r\n" in before:
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    mark = codecs.BOM_UTF8 if before.startswith(codecs.BOM_UTF8) else b""
    return mark + text.encode()


def difference(before: str, after: str) -> Iterator[str]:
    """Yield the changed lines with one line around each, with secrets masked."""
    known = _secrets(before)
    shown_before = _masked(before, dict.fromkeys(known, MASK))
    fresh = dict.fromkeys(_secrets(after) - known, f"{MASK} ({say('new')})")
    shown_after = _masked(after, {**fresh, **dict.fromkeys(known, MASK)})
    lines = difflib.unified_diff(
        shown_before.splitlines(), shown_after.splitlines(), lineterm="", n=1
    )
    for line in list(lines)[2:]:
        if not line.startswith("@@"):
            # A second time by the key, for comments and for what is not TOML.
            masked = line if MASK in line else _SECRET.sub(rf"\g<1>{MASK}", line)
            yield _QUERY.sub(rf"\g<1>{MASK}", masked)


def _masked(text: str, masks: Mapping[str, str]) -> str:
    for secret in sorted(masks, key=len, reverse=True):
        text = text.replace(secret, masks[secret])
    return text


def _secrets(text: str) -> set[str]:
    """Return the values of all secrets in a configuration, and the lines of longer ones."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return set()
    values = {value for key, value in _flat(document, "") if is_secret(key)}
    lines = {line.strip() for value in values for line in value.splitlines()}
    references = ("file:", "env:", "credential:")
    return {
        value for value in values | lines if len(value) > 1 and not value.startswith(references)
    }


def _flat(value: Given, key: str) -> Iterator[tuple[str, str]]:
    """Yield all texts of a document with their dotted keys."""
    match value:
        case str():
            yield key, value
        case dict():
            for name, inner in value.items():
                yield from _flat(inner, f"{key}.{name}" if key else str(name))
        case list():
            for inner in value:
                yield from _flat(inner, key)


# Keys.


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
    """Return the text of a configuration without `key`; nothing else changes, as in `with_value`.

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
    """Return the text of a configuration without the table `name`; the rest stays as it is."""
    wanted = tomllib.loads(text)
    wanted.pop(name, None)
    attempts = _without_lines(text, (), name)
    return next((attempt for attempt in attempts if _means(attempt, wanted)), text)


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
    """Yield texts with one more line or table; which of them is right is to check."""
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
    """Yield texts without the lines of a value, or of a table; which is right is to check."""
    lines = text.splitlines(keepends=True)
    for begin, end in _sections(lines, tables):
        for n in range(begin + 1, end):
            if re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", lines[n]):
                for last in range(n + 1, end + 1):  # a value can have several lines
                    yield _joined(lines[:n], "", lines[last:])
    for begin, end in _sections(lines, [*tables, key]):
        yield _joined(lines[:begin], "", lines[_last_filled(lines, begin, end) + 1 :])


def _joined(before: Sequence[str], line: str, after: Sequence[str]) -> str:
    head = "".join(before)
    return f"{head}{chr(10) if head and head[-1] != chr(10) else ''}{line}{''.join(after)}"


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
    """Return whether each line that is a comment still stands above the same line, if that is left.

    tomlkit takes the comments at the end of a table for a part of it.
    """
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


def candidates(given: str) -> Sequence[Given]:
    """Return what a value on the command line can mean: TOML if it is, and text."""
    try:
        return [tomllib.loads(f"value = {given}")["value"], given]
    except (ValueError, RecursionError):  # not TOML, or a number with thousands of digits
        return [given]


def is_secret(key: str) -> bool:
    """Return whether the value of that key must not be printed or be an argument."""
    return _SECRET.match(f"{key} = x") is not None


def has_secret(value: str) -> bool:
    """Return whether a value, such as a table, sets a secret inside."""
    names = re.findall(r"""["']?([A-Za-z_]+)["']?\s*=""", value)
    return any(is_secret(name) for name in names)


def _parts(key: str) -> list[str]:
    parts = key.split(".")
    if not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in parts) or len(parts) < 2:
        raise UsageFailure(
            say("{key!r} is not a key, such as session.ttl or assistant.chatgpt.model", key=key),
            hint=say("`wxgpt config get` lists all"),
        )
    return parts
