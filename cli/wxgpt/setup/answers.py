"""What was typed into `wxgpt init`, kept until it is done, so that an interruption loses nothing.

The file is readable by its owner only, for one of the answers is the API key.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from wxgpt.failures import UsageFailure
from wxgptd.wording import say

MAX_BYTES = 1 << 20


def path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where answers are kept."""
    base = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "wxgpt" / "init.json"


class Answers:
    """The answers so far; with `resume`, those of the last, interrupted run.

    Raises:
        UsageFailure: that run's answers cannot be read, or are there without `resume`.
    """

    def __init__(self, *, resume: bool) -> None:
        self._path = path()
        self._kept: dict[str, str] = {}
        if self._path.exists():
            before = self._read()
            if resume:
                self._kept = before
            elif before and sys.stdin.isatty():
                raise UsageFailure(
                    say(
                        "an earlier run was interrupted; what was typed is in {path}",
                        path=self._path,
                    ),
                    hint=say("continue with --resume, or delete that file to begin again"),
                )

    def _read(self) -> dict[str, str]:
        try:
            read = json.loads(self._own_text())
            kept = {str(key): str(value) for key, value in read.items()}
            json.dumps(kept, ensure_ascii=False).encode()
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise UsageFailure(
                say("{path} cannot be read: {why}", path=self._path, why=error),
                hint=say("delete it to begin again"),
            ) from None
        return kept

    def _own_text(self) -> str:
        """Return the file's text, if no other user can have written it.

        Raises:
            OSError, ValueError: it cannot be read, or another user could.
        """
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is not a file")
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise ValueError("another user can have written it")
            return file.read(MAX_BYTES).decode()

    def __bool__(self) -> bool:
        return bool(self._kept)

    def keys(self) -> set[str]:
        """Return the questions that were answered."""
        return set(self._kept)

    def get(self, key: str) -> str | None:
        """Return the answer to a question that was already answered."""
        return self._kept.get(key)

    def keep(self, key: str, answer: str) -> None:
        """Keep an answer; if that is impossible, nothing happens."""
        self._kept[key] = answer
        self._write()

    def _write(self) -> None:
        data = json.dumps(self._kept, ensure_ascii=False).encode()
        fresh = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.new")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
                file.write(data)
            fresh.replace(self._path)

    def forget(self, key: str) -> None:
        """Forget an answer that was wrong."""
        self._kept.pop(key, None)
        self._write()

    def drop(self) -> None:
        """Delete the answers: they are in the configuration now."""
        self._kept.clear()
        self._path.unlink(missing_ok=True)
