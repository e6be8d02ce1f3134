"""The connection to the NATS servers, in a thread with an asyncio loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import nats.errors
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError
from twisted.logger import Logger

from wxgptd.errors import WxgptError
from wxgptd.ports.appending import ReplicaRefused, ReplicaUnavailable
from wxgptd.ports.replica import Bounds
from wxgptd.replication.streams import LEAST_VERSION, Version
from wxgptd.wording import say

log = Logger()

T = TypeVar("T")

REQUEST_TIMEOUT_S = 2.0
REPEAT_TIMEOUT_S = 0.5
"""The timeout while requests fail, so that the first one after an election comes soon after it."""

PAUSE_S = 0.05
CUT_OFF_AFTER_S = 2.0
"""Once requests have failed for so long, the server may be cut off from the others: connect to
another one."""

PING_EVERY_S = 0.3
"""A server whose machine vanished is left after three of these: sooner than other nodes miss this
one's signs of life, so that its loss changes no node's role."""

RECONNECT_EVERY_S = 3.0
IMPATIENT_AFTER_S = 3.0
LOG_PROBLEMS_EVERY_S = 10.0


class Access(NamedTuple):
    """How to reach the servers: their URLs, and a credentials file or `user:password`, if any."""

    servers: Sequence[str]
    credentials: str = ""
    ca: Path | None = None


NO_TLS = "it does not offer TLS"

TRANSIENT = (nats.errors.Error, OSError, asyncio.TimeoutError)
"""Errors that may pass: the servers elect a leader, or a connection is being made."""


class Connection:
    """A connection that is kept up, whatever happens to the servers.

    `call` runs a coroutine in its thread. Nothing here gives up by itself: only `close` ends a
    coroutine that is waiting for the servers. Unless it is `patient`, `connect` tries for a few
    seconds only, and nothing is logged.
    """

    def __init__(self, access: Access, name: str, *, patient: bool = True) -> None:
        self._patient = patient
        self._access = access
        self._name = name
        self.client = Client()
        self._usual: JetStreamContext = self.client.jetstream(timeout=REQUEST_TIMEOUT_S)
        self._soon: JetStreamContext = self.client.jetstream(timeout=REPEAT_TIMEOUT_S)
        self.connected_since: float | None = None
        self._closing = self._has_begun = False
        self._failing_since: float | None = None
        self._reconnected_at = 0.0
        self._logged_at = -LOG_PROBLEMS_EVERY_S
        self._tasks: set[asyncio.Task[object]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wxgptd-nats", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be asked any longer."""
        return self._closing

    def call(self, work: Coroutine[object, object, T]) -> Future[T]:
        """Run `work` in the connection's thread; may be called in any thread.

        Raises (when awaited):
            ReplicaUnavailable: the connection was closed meanwhile.
        """
        if self._closing:
            work.close()
            failed: Future[T] = Future()
            failed.set_exception(_closed())
            return failed
        return asyncio.run_coroutine_threadsafe(self._tracked(work), self._loop)

    async def _tracked(self, work: Coroutine[object, object, T]) -> T:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            raise _closed() from None
        finally:
            self._tasks.discard(task)

    def close(self) -> Future[None]:
        """End everything that is still waiting, disconnect, and end the thread."""
        self._closing = True
        closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        closing.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        return closing

    async def _close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # so that those who waited for them are told
        if not self._has_begun:
            return  # nats-py closes only what it has begun to connect
        with contextlib.suppress(*TRANSIENT, asyncio.CancelledError):
            await asyncio.wait_for(self.client.close(), REQUEST_TIMEOUT_S)

    # In the connection's thread.

    async def connect(self) -> None:
        """Connect to a server, however long it takes.

        Raises:
            ReplicaRefused: the credentials are refused, or the server is too old.
        """
        deadline = time.monotonic() + IMPATIENT_AFTER_S
        while True:
            try:
                await self._connect(Client(), allow_reconnect=False)  # only this tells the reason
                self._has_begun = True
                await self._connect(
                    self.client,
                    max_reconnect_attempts=-1 if self._patient else 1,
                    disconnected_cb=self._disconnected,
                    reconnected_cb=self._reconnected,
                )
                break
            except TRANSIENT as error:
                if "authorization violation" in str(error).lower():
                    raise ReplicaRefused(
                        say("the NATS servers refuse the connection: {error}", error=error),
                        hint=say("check `credentials` in [cluster]"),
                    ) from error
                if NO_TLS in str(error):
                    raise ReplicaRefused(
                        say("the NATS server {where}: {no_tls}", where=self.where, no_tls=NO_TLS),
                        hint=say(
                            "see etc/nats.conf, or write nats:// instead of tls:// in [cluster]"
                        ),
                    ) from error
                if not self._patient and time.monotonic() > deadline:
                    raise
                await self._problem(error)
                await asyncio.sleep(PAUSE_S)
        self.require_version()
        self.connected_since = time.monotonic()

    async def _connect(self, client: Client, **more: Any) -> None:  # noqa: ANN401 (nats-py's)
        await client.connect(
            list(self._access.servers),
            name=self._name,
            reconnect_time_wait=0.1,  # type: ignore[arg-type]  # a float is fine
            connect_timeout=1,
            no_echo=True,  # a node does not hear itself
            ping_interval=PING_EVERY_S,  # type: ignore[arg-type]  # a float is fine
            max_outstanding_pings=2,
            error_cb=self._problem,
            tls=self._tls(),
            **self._credentials(client),
            **more,
        )
        self._only_if_secure(client, "")
        if client is not self.client:
            await client.close()

    def require_version(self) -> None:
        """Check that the server is not too old.

        Raises:
            ReplicaRefused: it is.
        """
        found = Version.of(self.client.connected_server_version)
        if found < LEAST_VERSION:
            least = ".".join(map(str, LEAST_VERSION))
            raise ReplicaRefused(
                say(
                    "the NATS server {where} has version {found}, but {least} or later is needed",
                    where=self.where,
                    found=found,
                    least=least,
                ),
                hint=say("earlier ones accept two appends where only one may succeed"),
            )

    def _tls(self) -> ssl.SSLContext | None:
        if not any(server.startswith("tls://") for server in self._access.servers):
            return None
        return ssl.create_default_context(cafile=self._access.ca)

    # Any: keyword arguments of nats-py.
    def _credentials(self, client: Client) -> dict[str, Any]:
        given = self._access.credentials
        if not given:
            return {}
        if "BEGIN NATS USER JWT" in given:
            return {"user_credentials": RawCredentials(given)}
        user, _, password = given.partition(":")
        return {"user": user, "password": lambda: self._only_if_secure(client, password)}

    def _only_if_secure(self, client: Client, password: str) -> str:
        """Return the password, unless TLS is wanted and the server does not offer it.

        Raises:
            nats.errors.Error: it does not.
        """
        is_secure = client._server_info.get("tls_required")  # noqa: SLF001 (there is a test)
        if self._tls() is not None and not is_secure:
            raise nats.errors.Error(f"nats: {NO_TLS}")
        return password

    async def _problem(self, error: Exception) -> None:
        now = time.monotonic()
        if self._patient and now - self._logged_at >= LOG_PROBLEMS_EVERY_S:
            self._logged_at = now
            why = str(error) or type(error).__name__
            log.warn("NATS: {why}; trying again", id="nats-failed", why=why)

    async def _disconnected(self) -> None:
        self.connected_since = None

    async def _reconnected(self) -> None:
        self.connected_since = time.monotonic()
        log.info("connected to the NATS server {url}", id="nats-connected", url=self.where)

    @property
    def streams(self) -> JetStreamContext:
        """JetStream, with a timeout for the next request."""
        return self._usual if self._failing_since is None else self._soon

    @property
    def where(self) -> str:
        """The server's host and port."""
        url = self.client.connected_url
        return url.netloc.rpartition("@")[2] if url is not None else ""

    async def persist(
        self,
        attempt: Callable[[], Awaitable[T]],
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Try until it succeeds; an `attempt` whose outcome is unknown must be safe to repeat.

        If it fails for a while, `check` may raise an error that ends this.

        Raises:
            ReplicaRefused: the message is larger than the servers accept.
        """
        while True:
            try:
                result = await attempt()
            except nats.errors.MaxPayloadError:
                raise ReplicaRefused(
                    say(
                        "the NATS servers accept messages of {max_payload:,} bytes, and this one "
                        "is larger",
                        max_payload=self.client.max_payload,
                    ),
                    hint=say("set max_payload = 8MB in their configuration: see etc/nats.conf"),
                ) from None
            except NotFoundError:
                self._failing_since = None
                raise
            except APIError as error:
                if not _passes(error):
                    raise
                await self._wait(error, check)
            except TRANSIENT as error:
                await self._wait(error, check)
            else:
                self._failing_since = None
                return result

    async def _wait(self, error: Exception, check: Callable[[], Awaitable[None]] | None) -> None:
        """Wait a moment; after a while, `check`, and connect to another server."""
        now = time.monotonic()
        await self._problem(error)
        if self._failing_since is None:
            self._failing_since = now
        elif (
            now - self._failing_since >= CUT_OFF_AFTER_S
            and now - self._reconnected_at >= RECONNECT_EVERY_S
        ):
            self._reconnected_at = now
            if check is not None:
                await check()
            with contextlib.suppress(*TRANSIENT):
                await self.client.force_reconnect()
        await asyncio.sleep(PAUSE_S)

    async def bounds(self, stream: str) -> Bounds:
        """Return the places of the first and the last message of a stream."""
        info = await self.persist(lambda: self.streams.stream_info(stream))
        state = info.state
        return Bounds(state.first_seq if state.messages else state.last_seq + 1, state.last_seq)

    def publish(self, subject: str, data: bytes) -> None:
        """Publish `data` if there is a connection; may be called in any thread."""

        async def publish() -> None:
            if self.client.is_connected:
                with contextlib.suppress(*TRANSIENT):
                    await self.client.publish(subject, data)

        if not self._closing:
            self.call(publish())

    async def subscribe(self, subject: str, take: Callable[[Msg], None]) -> None:
        """Call `take` with each message to `subject`, again after each reconnection."""

        async def taken(message: Msg) -> None:
            take(message)

        await self.client.subscribe(subject, cb=taken)


_TRANSIENT_CODES = {10158, 10008, 10009, 10023, 10076, 10077, 10164}
"""Concurrent repeats, no leader, no quorum, and the like."""


def _passes(error: APIError) -> bool:
    return (error.code or 0) in (500, 503) or error.err_code in _TRANSIENT_CODES


def _closed() -> WxgptError:
    return ReplicaUnavailable(say("the connection to the NATS servers was closed"))
