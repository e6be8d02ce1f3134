"""Times as readers see them: in the machine's time zone, which is usually the users' own."""

from __future__ import annotations

from datetime import UTC, datetime


def day(at: float) -> str:
    """Return the date of a timestamp."""
    return f"{_moment(at):%Y-%m-%d}"


def local(at: float) -> str:
    """Return the date and time of a timestamp."""
    return f"{_moment(at):%Y-%m-%d %H:%M}"


def clock(at: float) -> str:
    """Return the time of day of a timestamp."""
    return f"{_moment(at):%H:%M}"


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone()
