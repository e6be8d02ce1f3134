"""Customer-service messages: WeChat's own API, for the accounts that may use it.

Source: WeChat's "Customer service message" and "Get stable access token". A token is valid for two
hours. Until five minutes before it expires, `stable_token` returns the same one however often it
is called, so that several programs using one account do not invalidate each other's tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from wxgptd.domain.model.values import OpenId
from wxgptd.errors import WxgptError
from wxgptd.outbound.client import HttpClient
from wxgptd.outbound.exchange import within
from wxgptd.outbound.reading import read_whole
from wxgptd.ports.messengers import Delivered, Undelivered
from wxgptd.untyped import Json

log = Logger()

API_URL = "https://api.weixin.qq.com"
TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024

REFRESH_BEFORE_S = 300.0
"""WeChat issues a new token once the old one expires in less than five minutes."""

PAUSE_S = 600.0
"""How long to stop sending after an error that only the operator can fix."""

BUSY = -1
NOT_PERMITTED = 48001
NOT_WANTED = "the user has left, cleared the session or was blocked"
_TOKEN_EXPIRED = frozenset({40001, 40014, 42001})
_OPERATOR_S = frozenset({40013, 40125, 40164, 41002, 41004})
_LIMITS = frozenset({45015, 45047})
"""WeChat's own limits, which are reached occasionally; the operator need not act."""

_MEANINGS = {
    40001: "WeChat rejects the tokens issued for the app_secret: check whether it was changed",
    45002: "the message is too long",
    45015: "the user has not written for 48 hours",
    45047: "the user has received as many messages as WeChat allows after one of their own",
    40003: "no such user",
    40013: "the app_id is wrong",
    40125: "the app_secret is wrong",
    40164: "this machine's address is not in the account's IP whitelist "
    "(微信开发者平台 → 公众号 → 基础信息 → API IP白名单)",
    48001: "the account may not send customer-service messages",
}


class ApiError(WxgptError):
    """WeChat's API rejected the call"""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(_MEANINGS.get(code, "") or f"errcode {code}: {message}"[:200])


@dataclass(frozen=True, slots=True)
class App:
    """The credentials of an account for WeChat's API. `name` is ours, for the log."""

    name: str
    app_id: str
    secret: str

    def __repr__(self) -> str:
        return f"App({self.name!r})"


class CustomerService:
    """One account's messenger. Implements `wxgptd.ports.messengers.Messenger`."""

    def __init__(
        self, app: App, http: HttpClient, clock: IReactorTime, api_url: str = API_URL
    ) -> None:
        self._app = app
        self._clock = clock
        self._api = _Api(http, clock, api_url.rstrip("/"))
        self._token = ""
        self._refresh_at = 0.0
        self._refreshing: list[Deferred[None]] | None = None
        self._permitted = True
        self._typing_permitted = True
        self._paused_until = 0.0

    def usable(self) -> bool:
        """Return whether it makes sense to try; see `wxgptd.ports.messengers.Messenger`."""
        return self._permitted and self._clock.seconds() >= self._paused_until

    @property
    def state(self) -> str:
        """The state in a few words, for the operator."""
        if not self._permitted:
            return "not permitted"
        left_s = self._paused_until - self._clock.seconds()
        return "on" if left_s <= 0 else f"paused for {ceil(left_s / 60)} min"

    def probe(self) -> Deferred[str]:
        """Ask WeChat for a token; see `wxgptd.ports.messengers.Messenger`."""
        return Deferred.fromCoroutine(self._probe())

    async def _probe(self) -> str:
        try:
            await self._current_token()
        except WxgptError as error:
            return str(error)
        return ""

    def show_typing(self, openid: OpenId, *, on: bool) -> Deferred[None]:
        """Show or hide the typing indicator; see `wxgptd.ports.messengers.Messenger`."""
        return Deferred.fromCoroutine(self._show_typing(openid, on=on))

    async def _show_typing(self, openid: OpenId, *, on: bool) -> None:
        if not self._typing_permitted:
            return
        payload = {"touser": openid, "command": "Typing" if on else "CancelTyping"}
        try:
            token = await self._current_token()
        except ApiError as error:
            self._handle(error)
            return
        except WxgptError:
            return  # WeChat's API is unreachable, which sending will report
        try:
            await self._api.call(f"/cgi-bin/message/custom/typing?access_token={token}", payload)
        except ApiError as error:
            self._typing_permitted = error.code != NOT_PERMITTED
        except WxgptError:
            pass

    def send(
        self, openid: OpenId, text: str, wanted: Callable[[], bool], *, generated: bool
    ) -> Deferred[Delivered | Undelivered]:
        """Send `text`; see `wxgptd.ports.messengers.Messenger`."""
        message: dict[str, object] = {
            "touser": openid,
            "msgtype": "text",
            "text": {"content": text},
        }
        if generated:
            message["aimsgcontext"] = {"is_ai_msg": 1}
        return Deferred.fromCoroutine(self._send(message, wanted))

    async def _send(
        self, message: Mapping[str, object], wanted: Callable[[], bool]
    ) -> Delivered | Undelivered:
        try:
            if not await self._deliver(message, wanted):
                return Undelivered(0, NOT_WANTED)
        except ApiError as error:
            self._handle(error)
            return Undelivered(error.code, str(error))
        except WxgptError as error:
            log.warn(
                "{account}: failed to push a message: {why}",
                id="push-failed",
                account=self._app.name,
                why=error,
                bounded_as="push",
            )
            return Undelivered(0, str(error))
        return Delivered()

    async def _deliver(self, message: Mapping[str, object], wanted: Callable[[], bool]) -> bool:
        """Send `message`; return whether it was still wanted.

        Retries once if the token had expired or WeChat was busy, because then nothing was sent.
        """
        for last in (False, True):
            token = await self._current_token()
            if not wanted():
                return False
            try:
                await self._api.call(f"/cgi-bin/message/custom/send?access_token={token}", message)
            except ApiError as error:
                if last or error.code not in (*_TOKEN_EXPIRED, BUSY):
                    raise
                if error.code == BUSY:
                    await deferLater(self._clock, 1.0)
                elif token == self._token:
                    await self._replace_token(token)
            else:
                return True
        raise AssertionError("the second error is raised")

    async def _replace_token(self, revoked: str) -> None:
        """Get a token other than `revoked`, forcing a refresh if WeChat returns that one again."""
        self._refresh_at = 0.0
        if await self._current_token() == revoked:
            self._refresh_at = 0.0
            await self._current_token(force=True)

    async def _current_token(self, *, force: bool = False) -> str:
        """Return a valid token; concurrent callers share one request."""
        while self._clock.seconds() >= self._refresh_at:
            if self._refreshing is not None:
                waiter: Deferred[None] = Deferred(self._leave)
                self._refreshing.append(waiter)
                await waiter
                continue
            self._refreshing = []
            failure: Failure | None = None
            try:
                await self._refresh(force=force)
            except Exception:
                failure = Failure()  # shared by all waiters
                raise
            finally:
                waiters, self._refreshing = self._refreshing, None
                for waiter in waiters:
                    waiter.callback(None) if failure is None else waiter.errback(failure)
        return self._token

    def _leave(self, waiter: Deferred[None]) -> None:
        if self._refreshing is not None and waiter in self._refreshing:
            self._refreshing.remove(waiter)
        waiter.errback(CancelledError())

    async def _refresh(self, *, force: bool) -> None:
        app = self._app
        answer = await self._api.call(
            "/cgi-bin/stable_token",
            {
                "grant_type": "client_credential",
                "appid": app.app_id,
                "secret": app.secret,
                "force_refresh": force,
            },
        )
        token, lifetime_s = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]{1,2000}", token):
            raise ApiError(0, "the response has no access_token")
        if not isinstance(lifetime_s, int | float) or not 0 < lifetime_s < 1e6:
            lifetime_s = 7_200
        self._token = token
        self._refresh_at = self._clock.seconds() + max(lifetime_s - REFRESH_BEFORE_S, 1.0)

    def _handle(self, error: ApiError) -> None:
        if error.code == NOT_PERMITTED:
            if self._permitted:
                log.warn(
                    "{account}: pushing is off until a restart: {why} (errcode 48001)",
                    id="push-off",
                    account=self._app.name,
                    why=str(error),
                )
            self._permitted = False
            return
        if error.code in _OPERATOR_S or error.code in _TOKEN_EXPIRED:
            self._paused_until = self._clock.seconds() + PAUSE_S
            log.error(
                "{account}: pushing paused for {minutes:g} min (restart to retry now): {why}",
                id="push-paused",
                account=self._app.name,
                minutes=PAUSE_S / 60,
                why=str(error),
            )
        elif error.code in _LIMITS:
            log.info(
                "{account}: not pushed: {why}",
                id="push-failed",
                account=self._app.name,
                why=str(error),
                bounded_as=f"push {error.code}",
            )
        else:
            log.warn(
                "{account}: not pushed: {why}",
                id="push-failed",
                account=self._app.name,
                why=str(error),
                bounded_as=f"push {error.code}",
            )


class _Api:
    """WeChat's API over HTTP: JSON in, JSON out; a non-zero errcode is an error."""

    def __init__(self, http: HttpClient, clock: IReactorTime, url: str) -> None:
        self._http = http
        self._clock = clock
        self._url = url

    async def call(self, path: str, payload: object) -> Json:
        """Post `payload`; return the response.

        Raises:
            ApiError: WeChat rejected the call.
            NoAnswer, Incomplete: WeChat may or may not have acted on it.
        """
        return await within(TIMEOUT_S, self._clock, self._exchange(path, payload))

    async def _exchange(self, path: str, payload: object) -> Json:
        # WeChat would show escaped characters literally.
        body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        response = await self._http.post(
            self._url + path,
            data=body,
            headers={b"content-type": b"application/json; charset=utf-8"},
            unbuffered=True,
            allow_redirects=False,
        )
        response_body = await read_whole(
            response, self._clock, idle_timeout_s=TIMEOUT_S, limit=MAX_ANSWER_BYTES
        )
        if response.code != 200:
            raise ApiError(0, f"HTTP {response.code}")
        try:
            answer = json.loads(response_body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ApiError(0, "the response is not JSON")
        code = answer.get("errcode", 0)
        if code not in (0, "0"):
            is_valid = type(code) is int and abs(code) < 2**31
            raise ApiError(code if is_valid else 0, str(answer.get("errmsg", code)))
        return answer
