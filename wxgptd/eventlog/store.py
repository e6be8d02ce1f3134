"""The event log as the service sees it: append and wait, scan, close.

The one place where the writer's thread meets the reactor's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred

from wxgptd.domain.events import Event
from wxgptd.domain.record import Recorded, StoreFigures
from wxgptd.domain.values import User
from wxgptd.errors import WxgptError
from wxgptd.eventlog import codec, reader, recovery, segments
from wxgptd.eventlog.writer import DISK, SEGMENT_BYTES, Disk, Writer


class StoreUnavailable(WxgptError):
    """the event log cannot be written any more"""

    exit_status = 75


class LogStore:
    """A log directory, locked for this process.

    `in_reactor` runs a function in the reactor's thread, whichever thread calls it; `soon` runs
    one there when what the reactor is doing just now is done. `on_failure` is called there,
    once, when the log can no longer be written.

    Group commit: whatever is appended while one commit is under way is the next one, and so is
    all that one turn of the reactor appends.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        in_reactor: Callable[[Callable[[], None]], None],
        soon: Callable[[Callable[[], None]], object],
        on_failure: Callable[[StoreUnavailable], None],
        on_full: Callable[[bool], None],
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk = DISK,
    ) -> None:
        self._disk = disk
        segments.make_private_directory(state_dir)
        self._lock = segments.StateLock(state_dir)
        self._directory = segments.log_directory(state_dir)
        self._in_reactor = in_reactor
        self._soon = soon
        self._flushing = False
        self._on_failure = on_failure
        self._on_full = on_full
        self._segment_bytes = segment_bytes
        self._waiting: dict[Deferred[int], int] = {}
        self._failed: StoreUnavailable | None = None
        self._writer: Writer | None = None
        self.trimmed: recovery.Trimmed | None = None

    def scan(self) -> Iterator[Recorded]:
        """Yield all events of the log. Changes nothing.

        Raises:
            LogDamaged: something does not check.
            UnreadableEvent: a newer wxgptd wrote an event.
        """
        recovery.finish_repair(self._directory)
        segments.make_private_directory(self._directory)
        return map(codec.require, reader.scan(self._directory))

    def start(self) -> None:
        """Trim a torn tail, and begin to write behind what `scan` has read.

        Raises:
            LogDamaged: the newest segment is damaged.
            StoreUnavailable: the disk does not allow it.
        """
        try:
            ready = recovery.make_ready(self._directory)
        except OSError as error:
            raise _unavailable(error) from error
        self.trimmed = ready.trimmed
        self._writer = Writer(
            self._directory,
            ready,
            on_durable=self._durable,
            on_failure=lambda error: self._in_reactor(lambda: self._fail(error)),
            on_full=lambda full: self._in_reactor(lambda: self._on_full(full)),
            segment_bytes=self._segment_bytes,
            disk=self._disk,
        )

    def append(self, user: User, events: Sequence[Event], expected: int) -> Deferred[int]:
        """Append `events`, which rest on version `expected` of `user`.

        Fires with the number of the last one once they are durable. They are atomic: after a
        crash all of them are there, or none.

        Errs:
            StoreUnavailable: the log cannot be written; nothing was acknowledged.

        Raises:
            StoreUnavailable: the log is not open (yet, or any more).
            Unencodable: an event has a value that cannot be written.
        """
        if self._writer is None:
            raise StoreUnavailable("the event log is not open")
        result: Deferred[int] = Deferred()
        if self._failed is not None:
            result.errback(self._failed)
            return result
        entries = [
            codec.encode(user, previous, event) for previous, event in enumerate(events, expected)
        ]
        self._waiting[result] = self._writer.append(entries, result)
        if not self._flushing:
            self._flushing = True
            self._soon(self._flush)
        return result

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def figures(self) -> StoreFigures:
        """Return what has been committed since the start."""
        if self._writer is None:
            return StoreFigures(0, 0, 0, 0.0)
        commits = self._writer.commits
        return StoreFigures(
            last_seq=self._writer.next_seq - 1,
            commits=commits.groups,
            events=commits.events,
            sync_s=commits.sync_s,
        )

    def full(self) -> bool:
        """Tell whether the disk is full: then only what has to be should be appended."""
        return self._writer is not None and self._writer.full

    def close(self) -> None:
        """Commit what waits, seal the log, unlock the directory. Blocks for as long.

        Raises:
            StoreUnavailable: not everything was committed and sealed.
        """
        error = self._writer.close() if self._writer is not None else None
        self._writer = None
        self._lock.release()
        if error is not None:
            raise self._failed or _unavailable(error)

    def _durable(self, tokens: list[object]) -> None:
        self._in_reactor(lambda: self._acknowledge(tokens))

    def _acknowledge(self, tokens: list[object]) -> None:
        for token in tokens:
            assert isinstance(token, Deferred)
            seq = self._waiting.pop(token, None)
            if seq is not None:
                token.callback(seq)
        self._flushing = bool(self._waiting)
        if self._waiting:
            self._flush()

    def _fail(self, error: Exception) -> None:
        self._failed = _unavailable(error)
        waiting, self._waiting = self._waiting, {}
        for result in waiting:
            result.errback(self._failed)
        self._on_failure(self._failed)


def _unavailable(error: Exception) -> StoreUnavailable:
    why = getattr(error, "strerror", None) or repr(error)
    return StoreUnavailable(
        f"the event log cannot be written: {why}",
        hint="check the disk and its free space; the daemon recovers when it is started again",
    )
