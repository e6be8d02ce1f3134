"""api.weixin.qq.com as far as customer-service messages go; it counts, and errs like the real one.

Sources: WeChat's "Get stable access token", "Customer service message" and its list of errcodes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

MESSAGES = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest rid: 0-0",
    40164: "invalid ip 203.0.113.9 ipv6 ::ffff:203.0.113.9, not in whitelist rid: 0-0",
    42001: "access_token expired rid: 0-0",
    45002: "content size out of limit rid: 0-0",
    45015: "response out of time limit or subscription is canceled rid: 0-0",
    45047: "out of response count limit rid: 0-0",
    48001: "api unauthorized rid: 0-0",
}


class WeChatApi(Resource):
    """`errors` are the errcodes of the next messages, in order; 0 is a success."""

    isLeaf = True

    def __init__(self, app_id: str, secret: str, seconds: Callable[[], float]) -> None:
        super().__init__()
        self._app = (app_id, secret)
        self._seconds = seconds
        self._issued = 0
        self._token = ""
        self._expires_at = 0.0
        self.sent: list[tuple[str, str]] = []
        self.labelled: list[bool] = []
        self.typing: list[tuple[str, str]] = []
        self.typing_error = 0
        self.errors: list[int] = []
        self.token_errors: list[int] = []
        self.calls: Counter[str] = Counter()
        self.held: list[tuple[Request, bytes]] | None = None

    def hold(self) -> None:
        """Answer nothing more until `release`."""
        self.held = []

    def release(self) -> None:
        held, self.held = self.held or [], None
        for request, body in held:
            said = self._answer(request, body)
            if request.channel is not None:
                request.write(said)
                request.finish()

    def revoke(self) -> None:
        """Somebody else has forced a new token."""
        self._token, self._expires_at = "", 0.0

    def render_POST(self, request: Request) -> bytes | int:
        body = request.content.read()
        if self.held is not None:
            self.held.append((request, body))
            return NOT_DONE_YET
        return self._answer(request, body)

    def _answer(self, request: Request, body: bytes) -> bytes:
        path = urlsplit(request.uri).path.decode()
        said = json.loads(body)
        self.calls[path] += 1
        match path:
            case "/cgi-bin/stable_token":
                return _json(self._stable_token(said))
            case "/cgi-bin/message/custom/send":
                token = request.args.get(b"access_token", [b""])[0].decode()
                return _json(self._send(token, said))
            case "/cgi-bin/message/custom/typing":
                self.typing.append((said["touser"], said["command"]))
                return _json(_error(self.typing_error))
        request.setResponseCode(404)
        return b"<html>"

    def _stable_token(self, said: dict[str, Any]) -> dict[str, Any]:
        if self.token_errors:
            return _error(self.token_errors.pop(0))
        assert said["grant_type"] == "client_credential"
        if (said["appid"], said["secret"]) != self._app:
            return _error(40125)
        left = self._expires_at - self._seconds()
        if said["force_refresh"]:
            self.calls["forced"] += 1
        if left <= 300 or said["force_refresh"]:
            self._issued += 1
            self._token = f"token-{self._issued}"
            self._expires_at = self._seconds() + 7200
        return {
            "access_token": self._token,
            "expires_in": int(self._expires_at - self._seconds()),
        }

    def _send(self, token: str, said: dict[str, Any]) -> dict[str, Any]:
        if token != self._token:
            return _error(40001)
        if self._seconds() >= self._expires_at:
            return _error(42001)
        code = self.errors.pop(0) if self.errors else 0
        if len(said["text"]["content"].encode()) > 2048:
            code = 45002
        if code:
            return _error(code)
        assert said["msgtype"] == "text"
        self.sent.append((said["touser"], said["text"]["content"]))
        self.labelled.append(said.get("aimsgcontext") == {"is_ai_msg": 1})
        return {"errcode": 0, "errmsg": "ok"}


def _error(code: int) -> dict[str, Any]:
    return {"errcode": code, "errmsg": MESSAGES.get(code, "error")}


def _json(said: object) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode()
