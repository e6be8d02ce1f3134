"""Serve WeChat's domain verification files at the root, and no other files.

WeChat (业务域名, JS接口安全域名) issues `MP_verify_….txt`, WeCom `WW_verify_….txt`.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

log = Logger()

NAME = re.compile(r"(?:MP|WW)_verify_[A-Za-z0-9_-]{1,64}\.txt")

MAX_BYTES = 4_096
"""The files contain about sixteen characters."""


def find(directory: Path | None, path: bytes) -> Resource | None:
    """Return a resource for the verification file that `path` names, or None."""
    name = path.decode("ascii", "replace").removeprefix("/")
    if directory is None or not NAME.fullmatch(name):
        return None
    return _File(directory / name)


class _File(Resource):
    isLeaf = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"x-content-type-options", b"nosniff")
        try:
            return _contents(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warn(
                "{path} is not served: {why}",
                id="file-not-served",
                path=str(self._path),
                why=error.strerror or str(error),
                bounded_as="verify file",
            )
        request.setResponseCode(404)
        return b"not found\n"


def _contents(path: Path) -> bytes:
    """Return the bytes of a small regular file; reject links, devices and blocking files."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise OSError("not a small regular file")
        return os.read(descriptor, MAX_BYTES)
    finally:
        os.close(descriptor)
