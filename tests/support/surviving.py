"""The driver of the injury tests: run the workload, injure it, and see what is left.

What counts is what was acknowledged before the injury; see `tests.support.workload`.
"""

from __future__ import annotations

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
"""Whether to injure as often as `docs/reliability.md` says, and not as often as minutes allow."""

PATIENCE_S = 60.0


class Run:
    """A workload that runs, injured as the variables of injected.c in `injury` say."""

    def __init__(
        self, state_dir: Path, *options: str, injury: Mapping[str, str] | None = None
    ) -> None:
        self._pipe, stdout = os.pipe()
        self._zygote = zygote(str(injected.library()) if injury else "")
        self._pid = self._zygote.start([str(state_dir), *options], dict(injury or {}), stdout)
        os.close(stdout)
        os.set_blocking(self._pipe, False)
        self._said = b""
        self._ended = False
        self._status: int | None = None

    @property
    def lines(self) -> list[str]:
        """What it has said so far."""
        while not self._ended:
            try:
                data = os.read(self._pipe, 65_536)
            except BlockingIOError:
                break
            self._said += data
            self._ended = not data
        return self._said.decode().splitlines()

    @property
    def acknowledged(self) -> int:
        """The last event that is acknowledged, as far as is read."""
        return max((int(line[4:]) for line in self.lines if line.startswith("ack ")), default=0)

    @property
    def erased(self) -> set[str]:
        """The references of the users who are erased, as far as is read."""
        return {line[7:] for line in self.lines if line.startswith("erased ")}

    @property
    def snapshot(self) -> int:
        """The last event of the snapshot that it has said there is, as far as is read."""
        return max(
            (int(line[9:]) for line in self.lines if line.startswith("snapshot ")), default=0
        )

    def wait_for(self, word: str) -> None:
        """Wait until it has said a line that begins so, or has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(line.startswith(word) for line in self.lines):
            if self._ended:
                return
            assert time.monotonic() < deadline, f"it never says {word}"
            time.sleep(0.001)

    def kill(self) -> None:
        """Have it end without a word."""
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            self._status = self._zygote.wait(self._pid)

    def wait(self) -> int:
        """Wait for its end; return its status."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._ended:
            _ = self.lines  # or it waits for us
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
    """Have a workload run, and end with the block at the latest."""
    run = Run(state_dir, *options, injury=injury)
    try:
        yield run
    finally:
        run.close()


def lost(state_dir: Path, acknowledged: int, erased: Iterable[str] = (), snapshot: int = 0) -> str:
    """Return what is lost or wrong in a log that had so many events acknowledged; "" if nothing is.

    Reads it as a start does, which must not find damage, and every record of it. Of those who are
    `erased` there may be no key, and a snapshot has to be of event `snapshot` or later.
    """
    directory = segments.log_directory(state_dir)
    try:
        recovery.finish_replacing(directory)
        keys = Keyring(segments.keyring_path(state_dir), MASTER)
        loaded = loading.load(directory, keys, {}).loaded
        if loaded.last_seq < acknowledged:
            return f"{acknowledged} acknowledged, {loaded.last_seq} there"
        if loaded.snapshot_seq < snapshot:
            return f"a snapshot of event {snapshot} promised, {loaded.snapshot_seq} there"
        if back := [one for one in erased if keys.find(one) is not None]:
            return f"{', '.join(back)} erased, and there again"
        for user in loaded.users.values():
            user.hydrate()
        for record in reader.scan(directory, keys):
            found = codec.require(record)
            if isinstance(found.event, e.TailTrimmed | e.UserErased):
                continue
            right = workload.event(found.seq)
            about = "" if found.hidden else right.about
            if found.event != replace(right, about=about):
                return f"event {found.seq} is {found.event}"
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what the test is about)
        return f"{type(error).__name__}: {error}"
    return ""
