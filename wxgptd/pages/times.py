"""Moments as readers see them: in the machine's own zone, which is its users' as a rule."""

from __future__ import annotations

from datetime import UTC, datetime


def day(at: float) -> str:
    """Return the day of a moment."""
    return f"{_moment(at):%Y-%m-%d}"


def local(at: float) -> str:
    """Return the day and the time of a moment."""
    return f"{_moment(at):%Y-%m-%d %H:%M}"


def clock(at: float) -> str:
    """Return the time of day of a moment."""
    return f"{_moment(at):%H:%M}"


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone()
