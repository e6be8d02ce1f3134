"""What was typed into `wxgpt init`, kept until it is done, so that an interruption loses nothing.

The file is readable by its owner only, for one of the answers is the API key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where answers are kept."""
    base = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "wxgpt" / "init.json"


class Answers:
    """The answers so far; with `resume`, those of the last, interrupted run."""

    def __init__(self, *, resume: bool) -> None:
        self._path = path()
        self._kept: dict[str, str] = {}
        if resume and self._path.exists():
            read = json.loads(self._path.read_text("utf-8"))
            self._kept = {str(key): str(value) for key, value in read.items()}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def get(self, key: str) -> str | None:
        """Return the answer to a question that was already answered."""
        return self._kept.get(key)

    def keep(self, key: str, answer: str) -> None:
        """Keep an answer; if that is impossible, nothing happens."""
        self._kept[key] = answer
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
        except OSError:
            return
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._kept, file, ensure_ascii=False)

    def forget(self, key: str) -> None:
        """Forget an answer that was wrong."""
        self._kept.pop(key, None)

    def drop(self) -> None:
        """Delete the answers: they are in the configuration now."""
        self._path.unlink(missing_ok=True)
