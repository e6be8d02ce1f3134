"""What was typed into `wxgpt init`, kept until it is done, so that an interruption loses nothing.

The file is readable by its owner only, for one of the answers is the API key.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from wxgpt.failures import UsageFailure
from wxgptd.wording import say


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
            read = json.loads(self._path.read_text("utf-8"))
            return {str(key): str(value) for key, value in read.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise UsageFailure(
                say("{path} cannot be read: {why}", path=self._path, why=error),
                hint=say("delete it to begin again"),
            ) from None

    def __bool__(self) -> bool:
        return bool(self._kept)

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
