"""The driver of the injury tests: run the workload, injure it, and check what is left.

Only what was acknowledged before the injury counts; see `tests.support.workload`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.support import injected, workload
from tests.support.injuries import MASTER
from tests.support.zygote import zygote
from wxgptd.domain.model import events as e
from wxgptd.eventlog import codec, loading, reader, recovery, segments
from wxgptd.eventlog.keyring import Keyring

TORTURE = bool(os.environ.get("WXGPTD_TORTURE"))
"""Whether to injure as often as `docs/reliability.md` states, instead of for a few minutes."""

PATIENCE_S = 60.0


class Run:
    """A running workload, injured according to `injury`: the variables of injected.c."""

    def __init__(
        self, state_dir: Path, *options: str, injury: Mapping[str, str] | None = None
    ) -> None:
        self._pipe, stdout = os.pipe()
        self._zygote = zygote(str(injected.library()) if injury else "")
        self._pid = self._zygote.start([str(state_dir), *options], dict(injury or {}), stdout)
        os.close(stdout)
        os.set_blocking(self._pipe, False)
        self._output = b""
        self._ended = False
        self._status: int | None = None

    @property
    def lines(self) -> list[str]:
        """The lines printed so far."""
        while not self._ended:
            try:
                data = os.read(self._pipe, 65_536)
            except BlockingIOError:
                break
            self._output += data
            self._ended = not data
        return self._output.decode().splitlines()

    @property
    def acknowledged(self) -> int:
        """The last event acknowledged in the output so far."""
        return max((int(line[4:]) for line in self.lines if line.startswith("ack ")), default=0)

    @property
    def erased(self) -> set[str]:
        """The references of the users erased in the output so far."""
        return {line[7:] for line in self.lines if line.startswith("erased ")}

    @property
    def snapshot(self) -> int:
        """The last event of the snapshot reported in the output so far."""
        return max(
            (int(line[9:]) for line in self.lines if line.startswith("snapshot ")), default=0
        )

    def wait_for(self, word: str) -> None:
        """Wait until it prints a line that starts with `word`, or ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(line.startswith(word) for line in self.lines):
            if self._ended:
                return
            assert time.monotonic() < deadline, f"it never prints {word}"
            time.sleep(0.001)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            self._status = self._zygote.wait(self._pid)

    def wait(self) -> int:
        """Wait until it ends; return its exit status."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._ended:
            _ = self.lines  # drain the pipe, or the workload blocks
            assert time.monotonic() < deadline, "it hangs"
            time.sleep(0.002)
        if self._status is None:
            self._status = self._zygote.wait(self._pid)
        return self._status

    def close(self) -> None:
        """Leave nothing running."""
        self.kill()
        os.close(self._pipe)


@contextmanager
def running(
    state_dir: Path, *options: str, injury: Mapping[str, str] | None = None
) -> Iterator[Run]:
    """Run a workload, and kill it at the end of the block if it is still running."""
    run = Run(state_dir, *options, injury=injury)
    try:
        yield run
    finally:
        run.close()


def lost(state_dir: Path, acknowledged: int, erased: Iterable[str] = (), snapshot: int = 0) -> str:
    """Return what is lost or wrong in a log with `acknowledged` events, or "" if nothing is.

    Loads the log as the daemon does and reads every record; neither may find damage. No keys of
    `erased` users may be left, and the snapshot must cover event `snapshot`.
    """
    directory = segments.log_directory(state_dir)
    with contextlib.ExitStack() as opened:
        return _lost(state_dir, directory, (acknowledged, snapshot), erased, opened)


def _lost(
    state_dir: Path,
    directory: Path,
    promised: tuple[int, int],
    erased: Iterable[str],
    opened: contextlib.ExitStack,
) -> str:
    acknowledged, snapshot = promised
    try:
        recovery.finish_replacing(directory)
        keys = Keyring(segments.keyring_path(state_dir), MASTER)
        opened.callback(keys.close)
        found = loading.load(directory, keys, {})
        opened.callback(found.users.close)
        loaded = found.loaded
        if loaded.last_seq < acknowledged:
            return f"{acknowledged} events acknowledged, {loaded.last_seq} recorded"
        if loaded.snapshot_seq < snapshot:
            return f"snapshot of event {snapshot} promised, of {loaded.snapshot_seq} found"
        if restored := [name for name in erased if keys.find(name) is not None]:
            return f"erased, but restored: {', '.join(restored)}"
        loading.require_states(found, keys)
        for record in reader.scan(directory, keys):
            recorded = codec.require(record)
            if isinstance(recorded.event, e.TailTrimmed | e.UserErased):
                continue
            expected = workload.event(recorded.seq)
            about = "" if recorded.hidden else expected.about
            if recorded.event != replace(expected, about=about):
                return f"event {recorded.seq} is {recorded.event}"
    except Exception as error:  # noqa: BLE001 (any error is a finding)
        return f"{type(error).__name__}: {error}"
    return ""
