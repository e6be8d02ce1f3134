"""What a node asks of the one that leads. Implements `wxgptd.ports.elsewhere.Elsewhere`."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from wxgptd.errors import WxgptError
from wxgptd.outbound.client import HttpClient
from wxgptd.outbound.exchange import within
from wxgptd.outbound.reading import read_whole
from wxgptd.ports.elsewhere import Response
from wxgptd.service.cluster.standing import Standing

log = Logger()

PATIENCE_S = 10.0
MAX_RESPONSE_BYTES = 1024 * 1024

PASSED_BACK = (
    b"allow", b"cache-control", b"content-security-policy", b"content-type", b"location",
    b"referrer-policy", b"retry-after", b"set-cookie", b"x-content-type-options",
    b"x-frame-options", b"x-robots-tag",
)  # fmt: skip


class PassingOn:
    """Reaches the node that leads."""

    def __init__(self, standing: Standing, http: HttpClient, clock: IReactorTime) -> None:
        self._standing = standing
        self._http = http
        self._clock = clock
        self._waiting: list[Deferred[None]] = []
        self._fetching = False

    def leader(self) -> str | None:
        """Return the URL of the node that leads, an empty string, or None if it is this one."""
        if self._standing.leads:
            return None
        leader = self._standing.leader
        return leader.url if leader is not None else ""

    def fresh(self) -> Deferred[None]:
        """Fire once this node has everything that was recorded before the call."""
        fresh: Deferred[None] = Deferred()
        self._waiting.append(fresh)
        if not self._fetching:
            self._fetch()
        return fresh

    def _fetch(self) -> None:
        """Catch up once for all who wait now."""
        waiting, self._waiting, self._fetching = self._waiting, [], True

        def done(result: object) -> None:
            self._fetching = False
            for each in waiting:
                each.callback(None)
            if isinstance(result, Failure):
                log.failure("catching up failed", result, id="unexpected")
            if self._waiting:
                self._fetch()

        Deferred.fromCoroutine(self._standing.catch_up()).addBoth(done)

    def post(
        self, url: str, headers: Mapping[bytes, list[bytes]], body: bytes
    ) -> Deferred[Response | None]:
        """Post to the leader at `url`; fires with None if there is no response."""
        return Deferred.fromCoroutine(self._post(url, headers, body))

    async def _post(
        self, url: str, headers: Mapping[bytes, list[bytes]], body: bytes
    ) -> Response | None:
        try:
            return await within(PATIENCE_S, self._clock, self._exchange(url, headers, body))
        except WxgptError:
            return None

    async def _exchange(
        self, url: str, headers: Mapping[bytes, list[bytes]], body: bytes
    ) -> Response:
        response = await self._http.post(
            url, data=body, headers=dict(headers), unbuffered=True, allow_redirects=False
        )
        read = await read_whole(
            response, self._clock, idle_timeout_s=PATIENCE_S, limit=MAX_RESPONSE_BYTES
        )
        received = response.headers
        passed = {name: received.getRawHeaders(name) or [] for name in PASSED_BACK}
        return Response(response.code, {name: v for name, v in passed.items() if v}, read)
