"""A fake of WeChat's customer service API that counts calls and fails like the real one.

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
    """`errors` lists the errcodes of the next messages, in order; 0 means success."""

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
        """Answer no requests until `release`."""
        self.held = []

    def release(self) -> None:
        held, self.held = self.held or [], None
        for request, body in held:
            answer = self._answer(request, body)
            if request.channel is not None:
                request.write(answer)
                request.finish()

    def revoke(self) -> None:
        """Invalidate the token, as if another client had forced a new one."""
        self._token, self._expires_at = "", 0.0

    def render_POST(self, request: Request) -> bytes | int:
        body = request.content.read()
        if self.held is not None:
            self.held.append((request, body))
            return NOT_DONE_YET
        return self._answer(request, body)

    def _answer(self, request: Request, body: bytes) -> bytes:
        path = urlsplit(request.uri).path.decode()
        payload = json.loads(body)
        self.calls[path] += 1
        match path:
            case "/cgi-bin/stable_token":
                return _json(self._stable_token(payload))
            case "/cgi-bin/message/custom/send":
                token = request.args.get(b"access_token", [b""])[0].decode()
                return _json(self._send(token, payload))
            case "/cgi-bin/message/custom/typing":
                self.typing.append((payload["touser"], payload["command"]))
                return _json(_error(self.typing_error))
        request.setResponseCode(404)
        return b"<html>"

    def _stable_token(self, payload: dict[str, Any]) -> dict[str, Any]:
        if self.token_errors:
            return _error(self.token_errors.pop(0))
        assert payload["grant_type"] == "client_credential"
        if (payload["appid"], payload["secret"]) != self._app:
            return _error(40125)
        left = self._expires_at - self._seconds()
        if payload["force_refresh"]:
            self.calls["forced"] += 1
        if left <= 300 or payload["force_refresh"]:
            self._issued += 1
            self._token = f"token-{self._issued}"
            self._expires_at = self._seconds() + 7200
        return {
            "access_token": self._token,
            "expires_in": int(self._expires_at - self._seconds()),
        }

    def _send(self, token: str, payload: dict[str, Any]) -> dict[str, Any]:
        if token != self._token:
            return _error(40001)
        if self._seconds() >= self._expires_at:
            return _error(42001)
        code = self.errors.pop(0) if self.errors else 0
        if len(payload["text"]["content"].encode()) > 2048:
            code = 45002
        if code:
            return _error(code)
        assert payload["msgtype"] == "text"
        self.sent.append((payload["touser"], payload["text"]["content"]))
        self.labelled.append(payload.get("aimsgcontext") == {"is_ai_msg": 1})
        return {"errcode": 0, "errmsg": "ok"}


def _error(code: int) -> dict[str, Any]:
    return {"errcode": code, "errmsg": MESSAGES.get(code, "error")}


def _json(payload: object) -> bytes:
    return json.dumps(payload, ensure_ascii=False).encode()
