"""Read a streamed answer from an HTTP response."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from wxgptd.llm import sse
from wxgptd.llm.failure_detail import FailureDetail
from wxgptd.llm.wire import DONE
from wxgptd.outbound.reading import BodyReader, lost

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Size limit of a stream on the wire; each token of an answer takes about 300 bytes of JSON."""

MAX_JSON_BYTES = 1024 * 1024
"""Size limit of an answer that is not streamed, which is parsed in one go."""

_HEARTBEAT = re.compile(rb"\[[A-Za-z]")
"""Matches a line that begins like a JSON array but is not one, such as [HEARTBEAT]."""

LINGER_S = 1.0
"""How long to wait after a finish reason for the usage that some servers send last."""


class StreamReader(BodyReader):
    """Reads a stream of events, or the JSON that some servers send instead.

    `finished` fires with the reason why the stream ended early, or with None if it did not.
    `fell_silent` is set if the stream was abandoned because no more data arrived.
    `take` is called with the data of each event and returns True once nothing more is needed.
    `answered` returns whether only the usage can still be missing. It is not worth a long wait:
    some servers take seconds to close the connection.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        first_timeout_s: float,
        idle_timeout_s: float,
        take: Callable[[str], bool],
        answered: Callable[[], bool],
    ) -> None:
        # A model may think silently for a long time, but once it writes, it must not fall silent.
        super().__init__(clock, first_timeout_s)
        self.idle_timeout_s = idle_timeout_s
        self.finished: Deferred[FailureDetail | None] = Deferred(lambda _: self.stop())
        self._take = take
        self._answered = answered
        self._parser = sse.Parser()
        self._json: bytearray | None = None
        self._is_ndjson = False
        """Whether each line is a JSON object of its own, so that more may follow (NDJSON)."""
        self._lingering = False
        self.fell_silent = False
        self._started = False
        self.received = 0

    def dataReceived(self, data: bytes) -> None:
        if self.ended:
            return
        self.received += len(data)
        if self.received > MAX_BODY_BYTES:
            self._finish(FailureDetail(f"the answer is longer than {MAX_BODY_BYTES} bytes"))
            return
        if not self._started:
            data = data.lstrip().removeprefix(b"\xef\xbb\xbf").lstrip()
            if not data:
                return
            self._started = True
            if _HEARTBEAT.match(data) is None and data.startswith((b"{", b"[", b"<")):
                self._json = bytearray()
        try:
            if self._json is not None:
                self._read_json(data)
            else:
                self._read_events(data)
        except sse.LineTooLong as error:
            self._finish(FailureDetail(str(error)))

    def _read_events(self, data: bytes) -> None:
        events = self._parser.feed(data)
        # Comments keep the connection alive, but do not show that the model is still working.
        if events and not self._lingering:
            self.heard()
        self._process(events)

    def _read_json(self, data: bytes) -> None:
        """Read a body that begins like JSON: one object, or one object per line."""
        assert self._json is not None
        searched = len(self._json)
        self._json += data
        if b"\ndata:" in self._json[max(searched - 6, 0) :]:
            # It is an event stream after all, preceded by something else.
            events, self._json = bytes(self._json), None
            self._read_events(events)
            return
        if not self._lingering:
            self.heard()
        if not self._is_ndjson and b"\n" in data and b"\n" not in self._json[:searched]:
            self._is_ndjson = _is_object(bytes(self._json.partition(b"\n")[0]))
        if self._is_ndjson:
            *lines, rest = self._json.split(b"\n")
            self._json = rest
            self._process([line.decode("utf-8", "replace") for line in lines])
        if len(self._json) > MAX_JSON_BYTES:
            self._finish(FailureDetail(f"the answer is longer than {MAX_JSON_BYTES} bytes"))

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        if self.ended:
            self.stop_timer()
            return
        is_complete = reason is None or reason.check(ResponseDone, PotentialDataLoss)
        events = (
            [self._json.decode("utf-8", "replace")]
            if self._json is not None
            else self._parser.close()
        )
        self._process(events)
        self._finish(None if is_complete else FailureDetail(lost(reason)))
        self.stop_timer()

    def _process(self, events: list[str]) -> None:
        for event in events:
            if self.ended:
                return
            if self._take(event):
                self._finish(None, at_the_end=event.strip() == DONE)
        if self.ended:
            return
        if self._answered() and not self._lingering:
            self._lingering = True  # only once: further data must not postpone the end...
            self.wait(LINGER_S)
        elif self._lingering and not self._answered():
            self._lingering = False  # ...unless the answer continues
            self.heard()

    def silent(self) -> None:
        self.fell_silent = True
        self._finish(None if self._answered() else FailureDetail("timed out waiting for data"))

    def _finish(self, why: FailureDetail | None, *, at_the_end: bool = False) -> None:
        if not self.ended:
            if at_the_end:
                self.drain()
            else:
                self.stop()
            self.finished.callback(why)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
