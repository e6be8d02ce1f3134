"""The keys in the state directory that do not belong to the log."""

from __future__ import annotations

import secrets
from pathlib import Path

from twisted.logger import Logger

from wxgptd.errors import WxgptError
from wxgptd.eventlog import segments
from wxgptd.eventlog.short_lived_keys import ShortLivedKeyFile
from wxgptd.pages import links

log = Logger()


class KeyUnusable(WxgptError):
    """the link key cannot be used"""


def link_key_path(state_dir: Path) -> Path:
    """Return the path of the link key."""
    return segments.keys_directory(state_dir) / "links"


def link_key(state_dir: Path) -> bytes:
    """Return the link key; create it at the first start.

    Raises:
        KeyUnusable: the file has the wrong length for a key.
    """
    directory = segments.keys_directory(state_dir)
    segments.make_private_directory(directory)
    path = link_key_path(state_dir)
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        if segments.list_segments(segments.log_directory(state_dir)):
            log.error(
                "{path} is missing: creating a new key, so all links sent so far are dead; "
                "restore the file from a backup if you have one",
                id="link-key-missing",
                path=str(path),
            )
        key = secrets.token_bytes(links.KEY_BYTES)
        fresh = directory / "links.new"
        segments.write_durably(fresh, key)
        fresh.rename(path)
        segments.sync_directory(directory)
    if len(key) != links.KEY_BYTES:
        raise KeyUnusable(
            f"{path} is damaged",
            hint="restore it from a backup; without a backup, delete it: all links sent so far "
            "stop working",
        )
    return key


def short_lived_keys(state_dir: Path) -> ShortLivedKeyFile:
    """Return the keys that encrypt messages while they are held back."""
    return ShortLivedKeyFile(segments.short_lived_keys_path(state_dir))
