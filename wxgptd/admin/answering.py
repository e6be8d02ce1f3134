"""How the admin socket's resources answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from wxgptd.errors import WxgptError

log = Logger()

FLOAT_DIGITS = 6


def not_found(request: Request) -> bytes:
    """Answer 404."""
    request.setResponseCode(404)
    return json_body(request, {"error": "not found"})


def json_body(request: Request, value: object) -> bytes:
    """Return the body that says `value` in JSON."""
    request.setHeader(b"content-type", b"application/json; charset=utf-8")
    return json.dumps(_plain(value), ensure_ascii=False).encode("utf-8", "replace")


def _plain(value: object) -> object:
    """Return `value` as JSON types: objects by field name, floats rounded."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return round(value, FLOAT_DIGITS) if isinstance(value, float) else value


def give_up(failure: Failure, request: Request) -> None:
    """Report why a request could not be carried out; a bug is logged, and its connection closed."""
    if failure.check(CancelledError) is not None:
        return  # the client has disconnected
    if request.channel is None:
        return  # it did not wait
    if isinstance(error := failure.value, WxgptError):
        log.warn("a request on the admin socket failed: {error}", id="admin-failed", error=error)
        request.setResponseCode(500)
        request.write(json_body(request, {"error": str(error), "hint": error.hint}))
        request.finish()
        return
    log.failure("a request on the admin socket failed", failure, id="admin-failed")
    request.loseConnection()
