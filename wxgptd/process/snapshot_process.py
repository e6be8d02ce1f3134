"""Take snapshots in a process of their own, so that they take nothing from the daemon's time.

In a thread, a snapshot of many users would hold up every reply for seconds, because only one thread
of a Python process runs at a time. The process reads the log, writes the snapshot and ends. The
master key is passed to it through a pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack

from wxgptd.domain.model.state import Inconsistent
from wxgptd.errors import WxgptError
from wxgptd.eventlog import snapshotting
from wxgptd.eventlog.deleting import Deleted
from wxgptd.eventlog.disk import Disk
from wxgptd.eventlog.reader import LogDamaged
from wxgptd.process.process_limits import keep_memory_private

RUN = """
import signal
for number in (signal.SIGTERM, signal.SIGINT):  # systemd and terminals stop every process
    signal.signal(number, signal.SIG_IGN)
from wxgptd.process.snapshot_process import main
main()
"""

PR_SET_PDEATHSIG = 1
NOT_FOR_IT = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
"""What systemd says to the daemon alone."""

LOWEST_PRIORITY = 19
FIRST_TO_BE_KILLED = "500"
"""If memory runs out, the kernel kills this process rather than the daemon."""


class SnapshotProcess:
    """Takes one snapshot at a time. Implements `wxgptd.eventlog.system.TakeSnapshot`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def __call__(self, job: snapshotting.Job, master: bytes, disk: Disk) -> snapshotting.Taken:
        """Take a snapshot; blocks until it is done.

        Raises:
            OSError: it could not be written (ECANCELED: the daemon is stopping).
            WxgptError: a user's events are inconsistent or damaged.
        """
        request = msgpack.packb((os.getpid(), os.fsencode(job.state_dir), master, *job[1:]))
        with subprocess.Popen(  # noqa: S603 (our own interpreter)
            [sys.executable, "-P", "-c", RUN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        ) as process:
            self._process = process
            if self._stopped:
                process.kill()
            answer, _ = process.communicate(request)
        self._process = None
        if self._stopped:
            raise OSError(errno.ECANCELED, "the daemon is stopping")
        return _result(answer, process.returncode)

    def stop(self) -> None:
        """Abandon the snapshot that is being taken, if any, and take no more."""
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in NOT_FOR_IT}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _result(answer: bytes, status: int) -> snapshotting.Taken:
    match msgpack.unpackb(answer) if answer else None:
        case ["done", path, damaged]:
            return snapshotting.Taken(Path(os.fsdecode(path)), tuple(damaged))
        case ["failed", number, why, name]:
            raise OSError(number, why, name)
        case ["damaged", why, hint]:
            raise LogDamaged(why, hint=hint)
        case ["inconsistent", why]:
            raise Inconsistent(why)
        case _:
            how = f"was killed by signal {-status}" if status < 0 else f"exited with {status}"
            raise OSError(errno.EIO, f"the process that takes it {how}")


def main() -> None:
    """Take the snapshot that standard input asks for; print the result to standard output."""
    with contextlib.suppress(OSError):  # a sandbox may not allow it
        os.nice(LOWEST_PRIORITY)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_BE_KILLED, "ascii")
    keep_memory_private()
    gc.disable()
    parent, state_dir, master, *rest, deleted = msgpack.unpackb(
        sys.stdin.buffer.read(), use_list=False, strict_map_key=False
    )
    _end_with(parent)
    sessions = tuple(Deleted(*session) for session in deleted)
    job = snapshotting.Job(Path(os.fsdecode(state_dir)), *rest)._replace(deleted=sessions)
    sys.stdout.buffer.write(msgpack.packb(_taken(job, master)))


def _end_with(parent: int) -> None:
    """End when the daemon does, even if it is killed: another one may use the directory by then."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def _taken(job: snapshotting.Job, master: bytes) -> list[Any]:  # Any: see `_result`
    try:
        taken = snapshotting.take(job, master)
        return ["done", os.fsencode(taken.path), taken.damaged]
    except OSError as error:
        name = str(error.filename) if error.filename else None
        return ["failed", error.errno or errno.EIO, error.strerror or str(error), name]
    except Inconsistent as error:
        return ["inconsistent", str(error)]
    except WxgptError as error:
        return ["damaged", str(error), error.hint]
