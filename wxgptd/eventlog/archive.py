"""Back up a state directory while the daemon is writing, and restore it.

A backup is a tar file of the log's segments and snapshots, and of the keys. The newest segment is
included up to its last complete commit, so that the backup is a prefix of the log: everything up to
some event, and nothing after it. It is read back before it gets its final name.

A user who is erased after a backup is still in it, so old backups must be deleted eventually.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from wxgptd.errors import WxgptError
from wxgptd.eventlog import (
    framing,
    key_file,
    keyring,
    loading,
    log_writing,
    master_key,
    reader,
    segments,
)
from wxgptd.wording import say

CHUNK_BYTES = 1 << 20
MAX_MANIFEST_BYTES = 16 << 20
MAX_PADDING_BYTES = 1 << 20
"""The maximum padding at the end of a tar file: zeros that fill its last block."""

KEYS = "keys"
LOG = "log"
MANIFEST = "manifest.json"
"""The last file of a backup: the SHA-256 of every other file."""

_NAMES = re.compile(r"log/\d{20}\.(wxlog|wxsnap)|keys/(users|links|master)|manifest\.json")


class Backup(NamedTuple):
    """The contents of a backup: the number of its last event, and the number of users."""

    last_seq: int
    users: int


class InvalidBackup(WxgptError):
    """the file is not a wxgptd backup"""


class InsufficientSpace(WxgptError):
    """not enough disk space for the contents of the backup"""


class NotEmpty(WxgptError):
    """there is already a log"""

    exit_status = 2


def backup(state_dir: Path, target: Path, master: bytes) -> Backup:
    """Write a backup of `state_dir` to `target`, readable only by its owner.

    Raises:
        LogDamaged: the log is damaged.
        FileExistsError: `target` already exists.
    """
    if target.exists():
        raise FileExistsError(17, "the file already exists", str(target))
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                manifest = {}
                for name, data in _contents(state_dir):
                    _add(archive, name, data)
                    manifest[name] = hashlib.sha256(data).hexdigest()
                _add(archive, MANIFEST, json.dumps(manifest).encode())
            file.flush()
            os.fsync(file.fileno())
        contents = _verify(fresh, target.parent, master)
        os.link(fresh, target)  # fails if it exists by now
        segments.sync_directory(target.parent)
    finally:
        fresh.unlink(missing_ok=True)
    return contents


def restore(source: Path, state_dir: Path, master: bytes | None) -> Backup:
    """Restore the backup in `source` to `state_dir`.

    `master` is the master key if it is not among the keys in the backup.

    Raises:
        InvalidBackup: `source` is not a backup.
        NotEmpty: `state_dir` already has a log.
        LogDamaged: the log in the backup is damaged.
    """
    log = segments.log_directory(state_dir)
    if not log_writing.is_empty(log):
        raise _not_empty(log)
    segments.make_private_directory(state_dir)
    fresh = state_dir / "restoring"
    with segments.StateLock(state_dir):
        if not log_writing.is_empty(log):
            raise _not_empty(log)
        if fresh.exists():
            shutil.rmtree(fresh)  # left by an interrupted restore
        segments.make_private_directory(fresh)
        try:
            _extract(source, fresh)
            contents = _read(fresh, master)
            segments.make_private_directory(state_dir / KEYS)
            _require_no_other_keys(fresh / KEYS, state_dir / KEYS)
            for key in (fresh / KEYS).iterdir() if (fresh / KEYS).exists() else ():
                key.rename(state_dir / KEYS / key.name)
            segments.sync_directory(state_dir / KEYS)
            # Last, since the earlier steps can be repeated only while no log exists.
            log_writing.place(fresh / LOG, log)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return contents


def _not_empty(log: Path) -> NotEmpty:
    return NotEmpty(
        say("there is already a log in {log}", log=log),
        hint=say("restore into an empty directory: move the existing log away first"),
    )


def _require_no_other_keys(restored: Path, present: Path) -> None:
    for path in present.iterdir():
        same = restored / path.name
        if not same.exists() or same.read_bytes() != path.read_bytes():
            raise NotEmpty(
                say("there is already a key: {path}", path=path),
                hint=say("move it away if you no longer need the data encrypted with it"),
            )


def _contents(state_dir: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a backup."""
    ring = segments.keyring_path(state_dir)
    before = ring.read_bytes() if ring.exists() else b""
    log = segments.log_directory(state_dir)
    # Snapshots first: a segment that is deleted while we read is covered by one of them.
    for path in segments.list_snapshots(log):
        with contextlib.suppress(FileNotFoundError):
            yield f"{LOG}/{path.name}", path.read_bytes()
    paths = segments.list_segments(log)
    for path in paths:
        with contextlib.suppress(reader.SegmentDropped), reader.mapped(path) as data:
            end = _complete_bytes(path, data, last=path == paths[-1])
            yield f"{LOG}/{path.name}", bytes(data[:end])
    # Include the keys added while we read, and those deleted: the data we have read needs both.
    after = ring.read_bytes() if ring.exists() else b""
    yield f"{KEYS}/{ring.name}", key_file.joined(before, after)
    for name in ("links", "master"):  # not the short-lived keys
        path = segments.keys_directory(state_dir) / name
        if path.exists():
            yield f"{KEYS}/{name}", path.read_bytes()


def _complete_bytes(path: Path, data: memoryview, *, last: bool) -> int:
    """Return the length of a segment up to the end of its last complete commit."""
    header = reader.read_header(path, data, last=last)
    if header is None:
        return 0
    tail = framing.tail_of(data, header)
    if isinstance(tail, framing.Damaged):
        reader.require_tail(path, tail, last=last)
    return tail.end


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    archive.addfile(info, io.BytesIO(data))


def _check(source: Path, target: Path) -> None:
    """Check that `source` looks like a backup and that there is room for its contents.

    Raises:
        InvalidBackup: `source` contains something else.
        InsufficientSpace: the contents of `source` do not fit in the free space at `target`.
    """
    size = 0
    for info, _ in _members(source):
        size += info.size
        if info.name == MANIFEST and info.size > MAX_MANIFEST_BYTES:
            raise InvalidBackup(
                say("{source} is not a backup: its manifest is too large", source=source)
            )
    free = shutil.disk_usage(target).free
    if size > free:
        raise InsufficientSpace(
            say(
                "{source} needs {size:,} bytes, but only {free:,} are free in {target}",
                source=source,
                size=size,
                free=free,
                target=target,
            ),
            hint=say("free some space, or set [server] state_dir to restore elsewhere"),
        )


def _members(source: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield the files of a backup, each with a reader.

    Raises:
        InvalidBackup: the archive contains something else, or is corrupt.
    """
    seen: set[str] = set()
    try:
        with (
            gzip.open(source) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r:") as archive,
        ):
            for info in archive:
                name = info.name
                if info.type != tarfile.REGTYPE or name in seen or not _NAMES.fullmatch(name):
                    raise InvalidBackup(
                        say(
                            "{source} contains {name}, which does not belong in a backup",
                            source=source,
                            name=name,
                        )
                    )
                seen.add(name)
                data = archive.extractfile(info)
                assert data is not None
                yield info, data
            padding = 0
            while rest := unpacked.read(CHUNK_BYTES):  # to the end, where the checksum is
                padding += len(rest)
                if padding > MAX_PADDING_BYTES:
                    raise InvalidBackup(
                        say("{source} is not a backup: data follows its last file", source=source)
                    )
    except (tarfile.TarError, EOFError, ValueError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InvalidBackup(
            say("{source} is not a backup or is incomplete: {error}", source=source, error=error)
        ) from None


def _extract(source: Path, target: Path) -> None:
    """Extract a backup durably, and check it against its manifest."""
    _check(source, target)
    digests: dict[str, str] = {}
    manifest: dict[str, str] | None = None
    for info, data in _members(source):
        if info.name == MANIFEST:
            manifest = _manifest(source, data)
            continue
        folder, _, file_name = info.name.partition("/")
        segments.make_private_directory(target / folder)
        digests[info.name] = _write(target / folder / file_name, data)
    if manifest != digests or not any(name.startswith(f"{LOG}/") for name in digests):
        raise InvalidBackup(
            say(
                "{source} is not a backup or is incomplete: its manifest does not match",
                source=source,
            )
        )
    for directory in target.iterdir():
        segments.sync_directory(directory)


def _manifest(source: Path, data: IO[bytes]) -> dict[str, str]:
    try:
        manifest: dict[str, str] = json.loads(data.read(MAX_MANIFEST_BYTES))
    except ValueError:
        raise InvalidBackup(
            say("{source} is not a backup: its manifest is not valid JSON", source=source)
        ) from None
    return manifest


def _write(path: Path, data: IO[bytes]) -> str:
    """Write a file; return its SHA-256."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while chunk := data.read(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _verify(archive: Path, beside: Path, master: bytes) -> Backup:
    """Extract and read a backup as a restore would; return its contents."""
    trial = Path(tempfile.mkdtemp(prefix=f"{archive.name}.", dir=beside))
    try:
        _extract(archive, trial)
        return _read(trial, master)
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _read(state_dir: Path, master: bytes | None) -> Backup:
    """Read a log as the daemon does at startup, and the state of every user."""
    if master is None:
        if not master_key.master_path(state_dir).exists():
            raise InvalidBackup(
                say("the master key is not in the backup"),
                hint=say("it was stored elsewhere: set [log] master_key before restoring"),
            )
        master = master_key.read_master(master_key.master_path(state_dir))
    log = state_dir / LOG
    keys = keyring.Keyring(segments.keyring_path(state_dir), master)
    found = loading.load(log, keys, {})
    loading.require_states(found, keys)
    loaded = found.loaded
    return Backup(loaded.last_seq, len(loaded.users))
