"""The key that links are made with, in the state directory."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from wxgptd.errors import WxgptError
from wxgptd.eventlog import segments
from wxgptd.pages import links


class KeyUnusable(WxgptError):
    """the key that links are made with cannot be used"""


def link_key(state_dir: Path) -> bytes:
    """Return the key that links are made with; make it at the first start.

    Raises:
        KeyUnusable: the file is not what this function wrote.
    """
    directory = state_dir / "keys"
    segments.make_private_directory(directory)
    path = directory / "links"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = secrets.token_bytes(links.KEY_BYTES)
        fresh = directory / "links.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, key)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.rename(path)
        segments.sync_directory(directory)
    if len(key) != links.KEY_BYTES:
        raise KeyUnusable(
            f"{path} is damaged",
            hint="restore it from a backup; without one delete it: links sent so far die then",
        )
    return key
