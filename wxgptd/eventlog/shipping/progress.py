"""How far the log has been sent, for the daemon's metrics: a file in the state directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

_NAME = "shipped"


class Progress(NamedTuple):
    """The last event that was sent, and when that was noted (s since the epoch)."""

    seq: int
    at: float


def write_progress(state_dir: Path, seq: int) -> None:
    """Note that the events up to `seq` have been sent. Losing this loses nothing else."""
    path = state_dir / _NAME
    fresh = path.with_name(f"{_NAME}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"seq": seq}, file)
    fresh.replace(path)


def read_progress(state_dir: Path) -> Progress | None:
    """Return how far the log has been sent, or None if it never was."""
    path = state_dir / _NAME
    try:
        return Progress(int(json.loads(path.read_text("ascii"))["seq"]), path.stat().st_mtime)
    except (OSError, ValueError, TypeError, LookupError):
        return None
