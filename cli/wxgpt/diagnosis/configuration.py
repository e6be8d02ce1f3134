"""Check the configuration, its permissions, and the state directory."""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wxgpt.diagnosis.finding import Finding, failed, passed, skipped
from wxgpt.diagnosis.remedies import remedy
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgptd.config import Config

MIN_FREE_BYTES = 200 * 1024 * 1024


def doubtful(path: Path, config: Config) -> Iterator[Finding]:
    """Check for settings that are allowed but probably not intended.

    A trial on one machine and plain text mode are deliberate choices, and need no fix.
    """
    from wxgptd.config import doubts

    yield passed("configuration", say("{path}: no errors", path=path))
    for doubt in doubts(config):
        key, _, what = doubt.partition(": ")
        if "no phone can open" in what or key.endswith(".aes_key"):
            yield skipped("configuration", doubt)
        else:
            fix = remedy("configuration-doubtful", key=key, path=path)
            yield failed("configuration", doubt, fix, key=key)


def permissions(path: Path) -> Iterator[Finding]:
    """Check who may read and change the configuration."""
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        fix = remedy("mode-wrong", mode="go-w", path=path)
        yield failed("permissions", say("{path} is writable by other users", path=path), fix)
    elif mode & stat.S_IROTH:
        fix = remedy("mode-wrong", mode="o=", path=path)
        yield failed(
            "permissions", say("{path} is readable by every user on this machine", path=path), fix
        )
    elif group := group_that_reads(path):
        yield skipped(
            "permissions",
            say("{path} is readable by group {group}; is that intended?", path=path, group=group),
        )
    else:
        yield passed("permissions", f"{path}: {stat.filemode(status.st_mode)}")


def group_that_reads(path: Path) -> str:
    """Return the name of the group that may read the configuration, or "" if none may."""
    status = path.stat()
    if not status.st_mode & stat.S_IRGRP:
        return ""
    try:
        return grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        return str(status.st_gid)


def state_directory(config: Config) -> Iterator[Finding]:
    """Check the state directory's permissions, its owner and the free disk space."""
    path = config.server.state_dir
    try:
        status = path.stat()
    except FileNotFoundError:
        yield skipped(
            "state directory", say("{path} will be created when the daemon first starts", path=path)
        )
        return
    except PermissionError:
        yield skipped(
            "state directory", say("no access to {path}; try sudo wxgpt doctor", path=path)
        )
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        fix = remedy("mode-wrong", mode="700", path=path)
        yield failed("state directory", say("{path} is accessible to other users", path=path), fix)
    elif os.geteuid() != 0 and not os.access(path, os.W_OK):
        yield skipped(
            "state directory",
            say("{path} belongs to another user; try sudo wxgpt doctor", path=path),
        )
    else:
        yield passed("state directory", say("{path} is accessible only to the daemon", path=path))
    for name in ("log", "keys"):
        if (foreign := _foreign(path / name, status.st_uid)) is not None:
            fix = remedy("owner-wrong", directory=path.resolve())
            what = say(
                "{path} belongs to another user than {directory}", path=foreign, directory=path
            )
            yield failed("state directory", what, fix)
    free = shutil.disk_usage(path).free
    shown = say("{free:,.0f} MiB free", free=free / 2**20)
    if free < MIN_FREE_BYTES:
        yield failed("disk", shown, "disk-low", free_bytes=free)
    else:
        yield passed("disk", shown, free_bytes=free)


def _foreign(directory: Path, owner: int) -> Path | None:
    """Return a file that belongs to another user than the state directory, if there is one."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_uid != owner:
                return Path(entry.path)
    return None
