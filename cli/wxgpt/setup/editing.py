"""Change the configuration: comments are kept, the result is checked first, and can be undone.

The version before the last change is kept beside the file, as `NAME.previous`.
"""

from __future__ import annotations

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
_SECRET = re.compile(
    r"""(?x)^([ +-]?\s*(?:[\w.-]+\.)?(?:token|aes_key|previous_aes_key|app_secret|api_key|proxy
    |credentials|master_key|extra_headers[\w."'-]*)\s*=\s*)(?!["'](?:file|env|credential):).+"""
)
"""A line that sets a secret, except to a reference."""


def read_document(path: Path) -> TOMLDocument:
    """Return the configuration with its comments and its line endings."""
    import tomlkit

    from wxgptd.config.encodings import decoded

    return tomlkit.parse(decoded(path.read_bytes()))


def replace_file(path: Path, text: str, like: Path | None = None) -> None:
    """Replace `path` atomically, keeping its owner and mode (or those of `like`)."""
    from wxgptd.eventlog.segments import sync_directory

    status = (like or path).stat()
    # An unpredictable name, so that no other user can have created the file.
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(text.encode())
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, status.st_mode & 0o777)
        os.fsync(descriptor)
    except OSError:
        fresh.unlink()
        raise
    finally:
        os.close(descriptor)
    fresh.rename(path)
    sync_directory(path.parent)


def previous_of(path: Path) -> Path:
    """Return where the version before the last change is kept."""
    return path.with_name(f"{path.name}.previous")


def check(text: str, path: Path) -> Config:
    """Return the configuration that `text` would be at `path`.

    Raises:
        ConfigError: the text is invalid; lists every mistake with its key.
    """
    from wxgptd.config import parse

    return parse(text, path, mode=path.stat().st_mode, elsewhere=True)


def save(path: Path, text: str) -> None:
    """Replace the configuration, and keep the version before."""
    replace_file(previous_of(path), path.read_bytes().decode("utf-8", "surrogateescape"), like=path)
    replace_file(path, text)


def difference(before: str, after: str) -> Iterator[str]:
    """Yield the changed lines with one line around each, with secrets masked."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
    for line in list(lines)[2:]:
        if not line.startswith("@@"):
            yield _SECRET.sub(rf"\g<1>{MASK}", line)


# Keys.


def with_value(document: TOMLDocument, key: str, value: Given) -> str:
    """Return the text of the document with `key` set; tables are added as needed."""
    import tomlkit

    *tables, last = _parts(key)
    table: Given = document
    for name in tables:
        if name not in table:
            table[name] = tomlkit.table()
        table = table[name]
        if not isinstance(table, Mapping):
            raise UsageFailure(
                say("{key} is in a list of tables or in a value", key=key),
                hint="wxgpt config edit",
            )
    table[last] = value
    return document.as_string()


def without(document: TOMLDocument, key: str) -> str:
    """Return the text of the document without `key`.

    Raises:
        UsageFailure: it is not in the document.
    """
    *tables, last = _parts(key)
    table: Given = document
    for name in tables:
        table = table.get(name, {}) if isinstance(table, Mapping) else {}
    if not isinstance(table, Mapping) or last not in table:
        raise UsageFailure(say("{key} is not set in the file", key=key))
    del table[last]  # type: ignore[attr-defined]  # tomlkit's tables are mutable
    return document.as_string()


def candidates(given: str) -> Sequence[Given]:
    """Return what a value on the command line can mean: TOML if it is, and text."""
    try:
        return [tomllib.loads(f"value = {given}")["value"], given]
    except tomllib.TOMLDecodeError:
        return [given]


def is_secret(key: str) -> bool:
    """Return whether the value of that key must not be printed or be an argument."""
    return _SECRET.match(f"{key} = x") is not None


def _parts(key: str) -> list[str]:
    parts = key.split(".")
    if not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in parts) or len(parts) < 2:
        raise UsageFailure(
            say("{key!r} is not a key, such as session.ttl or assistant.chatgpt.model", key=key),
            hint=say("`wxgpt config get` lists all"),
        )
    return parts
