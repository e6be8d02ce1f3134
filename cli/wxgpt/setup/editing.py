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
from wxgpt.language import spoken
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgptd.config import Config
    from wxgptd.untyped import Given

MASK = "***"
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
    """Yield the changed lines with one line around each, with secrets masked.

    What is not TOML cannot be searched for secrets, so of that no line is shown.
    """
    is_readable = _is_toml(before)
    known = _secrets(before) if is_readable else _secrets(after)
    shown_before = _masked(before, dict.fromkeys(known, MASK))
    fresh = dict.fromkeys(_secrets(after) - known, f"{MASK} ({spoken('new')})")
    shown_after = _masked(after, {**fresh, **dict.fromkeys(known, MASK)})
    lines = difflib.unified_diff(
        shown_before.splitlines(), shown_after.splitlines(), lineterm="", n=1
    )
    for line in list(lines)[2:]:
        if line.startswith("@@") or (line.startswith("-") and not is_readable):
            continue
        # A second time by the key, for comments.
        masked = line if MASK in line else _SECRET.sub(rf"\g<1>{MASK}", line)
        yield _QUERY.sub(rf"\g<1>{MASK}", masked)


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _masked(text: str, masks: Mapping[str, str]) -> str:
    for secret in sorted(masks, key=len, reverse=True):
        text = text.replace(secret, masks[secret])
    return text


def _secrets(text: str) -> set[str]:
    """Return the values of all secrets in a configuration, and the lines of longer ones."""
    if not _is_toml(text):
        return set()
    values = {value for key, value in _flat(tomllib.loads(text), "") if is_secret(key)}
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
