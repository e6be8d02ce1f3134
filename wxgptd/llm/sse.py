"""Server-sent events, parsed as bytes arrive. Pure; no I/O.

Source: the HTML standard's "Server-sent events", parsed leniently: lines end in CR, LF or CRLF,
`data:` comes with or without a space, an event whose data is a complete JSON object needs no blank
line after it, and `close` returns an event that the end of the stream left unterminated. Chat
completions only use `data`.
"""

from __future__ import annotations

import json

from wxgptd.errors import WxgptError

MAX_LINE_BYTES = 256 * 1024

DONE = "[DONE]"

_BOM = b"\xef\xbb\xbf"


class LineTooLong(WxgptError):
    """the server sent a line that is too long"""


def _looks_complete(data: str) -> bool:
    """Return whether the first line of an event looks like a complete object."""
    return (
        data.startswith("{") and data.rstrip().endswith("}") and data.count("{") == data.count("}")
    )


def _is_complete(lines: list[str]) -> bool:
    """Return whether an event's data is definitely complete."""
    data = "\n".join(lines).strip()
    if data == DONE:
        return True
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _begins_event(data: str, line: str) -> bool:
    """Return whether `line` begins a new event because `data` is a heartbeat and not JSON."""
    return not data.lstrip().startswith(("{", "[")) and (
        line.lstrip().startswith("{") or line.strip() == DONE
    )


class Parser:
    """Turns bytes, split at arbitrary points, into the data of events."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = b""
        self._data: list[str] = []
        self._at_start = True

    def feed(self, received: bytes) -> list[str]:
        """Return the data of the events that `received` completes.

        Raises:
            LineTooLong: a line exceeds the limit.
        """
        pending = self._rest + received
        if self._at_start:
            if len(pending) < len(_BOM) and _BOM.startswith(pending):
                self._rest = pending
                return []
            pending = pending.removeprefix(_BOM)
            self._at_start = False
        if b"\r" in pending:
            # A CR at the very end may be the first half of a CRLF.
            held = b"\r" if pending.endswith(b"\r") else b""
            pending = pending[: len(pending) - len(held)]
            pending = pending.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held
        lines = pending.split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > self._max_line_bytes:
            raise LineTooLong
        events: list[str] = []
        for line in lines:
            self._line(line, events)
        return events

    def close(self) -> list[str]:
        """Return the data of an event that the end of the stream left unterminated."""
        events: list[str] = []
        if self._rest:
            self._line(self._rest.rstrip(b"\r"), events)
            self._rest = b""
        self._line(b"", events)
        return events

    def _line(self, line: bytes, events: list[str]) -> None:
        if not line:
            if self._data:
                events.append("\n".join(self._data))
                self._data = []
        elif line.startswith(b"data:"):
            value = line[6:] if line.startswith(b"data: ") else line[5:]
            text = value.decode("utf-8", "replace")
            if self._data and (_is_complete(self._data) or _begins_event(self._data[0], text)):
                # Some servers omit the blank line that ends an event.
                events.append("\n".join(self._data))
                self._data = []
            self._data.append(text)
            if len(self._data) == 1 and (
                _looks_complete(self._data[0]) or self._data[0].strip() == DONE
            ):
                events.append(self._data.pop())
        elif line.startswith(b"{") and not self._data:
            # JSON without a field name, from a server that sent something else first.
            events.append(line.decode("utf-8", "replace"))
