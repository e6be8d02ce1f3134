"""The master key, which encrypts the keyring: created once, or configured by the operator."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

from wxgptd.errors import WxgptError
from wxgptd.eventlog import segments
from wxgptd.eventlog.user_key import KEY_BYTES
from wxgptd.wording import say


class MasterKeyUnusable(WxgptError):
    """the master key of the log cannot be used"""

    exit_status = 4


def parse_master(text: str, where: str = "[log] master_key") -> bytes:
    """Return the master key in `text`, which is 32 bytes in base64; `where` is its origin.

    Raises:
        MasterKeyUnusable: `text` is not a master key.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise MasterKeyUnusable(
            say("the master key in {where} is not 32 bytes in base64", where=where),
            hint=say("restore it: no other key can read what users said"),
        )
    return key


def own_master(state_dir: Path) -> bytes:
    """Return the state directory's own master key; create it if there is none.

    Raises:
        MasterKeyUnusable: the file does not hold a master key, or others can read it.
    """
    path = master_path(state_dir)
    try:
        return read_master(path)
    except FileNotFoundError:
        if segments.keyring_path(state_dir).exists():
            raise MasterKeyUnusable(
                say(
                    "the master key {path} is missing: without it, what users said cannot be read",
                    path=path,
                ),
                hint=say(
                    "restore it from a backup, or configure it with [log] master_key; if it is "
                    "lost, start with another state directory"
                ),
            ) from None
    key = secrets.token_bytes(KEY_BYTES)
    fresh = path.with_name(f"master.{os.getpid()}.new")
    segments.make_private_directory(state_dir)
    segments.make_private_directory(path.parent)
    segments.write_durably(fresh, base64.b64encode(key) + b"\n")
    try:
        os.link(fresh, path)  # fails if another process was faster
    except FileExistsError:
        key = read_master(path)
    finally:
        fresh.unlink()
    segments.sync_directory(path.parent)
    return key


def master_path(state_dir: Path) -> Path:
    """Return the path of the state directory's own master key."""
    return segments.keys_directory(state_dir) / "master"


def read_master(path: Path) -> bytes:
    """Return the master key in the file at `path`.

    Raises:
        MasterKeyUnusable: the file does not hold a master key, or others can read it.
        OSError: the file cannot be read.
    """
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IRGRP):
        raise MasterKeyUnusable(
            say("{path} can be read by others", path=path), hint=say("chmod 600 {path}", path=path)
        )
    return parse_master(path.read_text("ascii", "replace").strip(), str(path))
