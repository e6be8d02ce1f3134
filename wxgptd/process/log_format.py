"""Write the log to standard error: for people, for the journal, or as JSON, one line per event.

Messages from libraries are only written if they are warnings or worse.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from string import Formatter
from typing import TextIO, cast

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText
from zope.interface import provider

FORMATS = ("auto", "text", "journal", "json")

_PRIORITIES = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
"""Syslog priorities, which the journal reads from a prefix (sd-daemon(3))."""


def observer(name: str, stream: TextIO, environ: Mapping[str, str]) -> ILogObserver:
    """Return an observer that writes to `stream` in the format `name`.

    `auto` is `journal` if `stream` goes to the journal, else `text`.
    """
    if name == "auto":
        name = "journal" if _is_journal(stream, environ) else "text"
    line = _LINES[name]

    @provider(ILogObserver)
    def write(event: LogEvent) -> None:
        ours = str(event.get("log_namespace", "")).startswith("wxgptd")
        if _level(event) >= (LogLevel.info if ours else LogLevel.warn):
            print(line(event), file=stream, flush=True)

    return cast("ILogObserver", write)


def startup_error_writer(
    name: str, stream: TextIO, environ: Mapping[str, str]
) -> Callable[[str], None]:
    """Return a function that logs why the daemon cannot start, in the format `name`."""
    if name == "auto" and not _is_journal(stream, environ):
        name = "text"
    log = Logger(namespace="wxgptd", observer=observer(name, stream, environ))

    def write(text: str) -> None:
        if name == "text":
            print(f"wxgptd: {text}", file=stream, flush=True)
        else:
            log.error("{text}", id="failed", text=text)

    return write


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether systemd has connected `stream` to the journal (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _level(event: LogEvent) -> LogLevel:
    level: LogLevel = event.get("log_level") or LogLevel.info
    return level


def _text(event: LogEvent) -> str:
    text: str = eventAsText(event, includeTimestamp=False, includeSystem=False)
    return text


def _marked(event: LogEvent) -> str:
    """Return the text with the id of its kind at the end of the first line."""
    first, *rest = _text(event).split("\n", 1)
    name = event.get("id")
    return "\n".join([f"{first} [{name}]" if name else first, *rest])


def _for_people(event: LogEvent) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(event["log_time"]))
    return f"{stamp} {_level(event).name}: {_marked(event)}"


def _for_journal(event: LogEvent) -> str:
    """Prefix each line with its priority, without a time: the journal records its own."""
    priority = _PRIORITIES[_level(event)]
    return "\n".join(f"<{priority}>{line}" for line in _marked(event).splitlines() or [""])


def _as_json(event: LogEvent) -> str:
    stamp = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds")
    record = {
        "at": stamp.replace("+00:00", "Z"),
        "level": _level(event).name,
        "logger": event.get("log_namespace", ""),
        "id": event.get("id", ""),
        "message": _text(event),
    }
    fields = (name for _, name, _, _ in Formatter().parse(event.get("log_format") or "") if name)
    for name in fields:
        value = event.get(name)
        if name not in record and not name.startswith("log_"):
            record[name] = value if isinstance(value, str | int | float | bool) else str(value)
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


_LINES: dict[str, Callable[[LogEvent], str]] = {
    "text": _for_people,
    "journal": _for_journal,
    "json": _as_json,
}
