"""The whole service on a virtual clock, with WeChat and the model faked at the wire.

    story = Story(answer_at(8, "..."))
    story.open()
    sent = story.send("a question")
    story.advance(9)
    assert sent.reply == "..."

Each incarnation of the service has its own clock, which stops when the incarnation crashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.support.memory_short_lived_keys import MemoryShortLivedKeys
from tests.support.memory_store import MemoryStore
from tests.support.model_server import ModelServer, Script
from tests.support.outside import Outside, OutsideHttp
from wxgpt.wechat import messages, peer
from wxgptd import config as cfg
from wxgptd.domain.model.events import Event
from wxgptd.domain.model.values import User
from wxgptd.domain.replies.texts import Texts
from wxgptd.ports.record import Capture, Loaded, RetentionResult, StoreFigures
from wxgptd.ports.store import InSession
from wxgptd.ports.threads import Threads
from wxgptd.service.environment import Environment
from wxgptd.service.wiring import Service
from wxgptd.wechat import crypto

WALL = 1_700_000_000.0
STEP_S = 0.05
LINK_KEY = b"k" * 32
TOKEN = "storytoken"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
APP_ID = "wx0123456789abcdef"
URL = "http://wxgptd.test"


def configuration(**changes: Any) -> cfg.Config:
    """Return a configuration; `window=`, `session=` and so on replace whole tables.

    Answers have no AI label: most stories are about the answer, and `test_labels` covers the label.
    """
    tables: dict[str, Any] = {
        "texts": Texts(ai_label=""),
        "server": cfg.Server(public_url="https://chat.example.com", state_dir=Path("/nowhere")),
        "account": {"main": cfg.Account(token=cfg.Secret(TOKEN))},
        "assistant": {
            "chatgpt": cfg.Assistant(
                base_url="http://model.test/v1", model="m-1", api_key=cfg.Secret("sk-secret")
            ),
        },
    }
    return cfg.Config(**{**tables, **changes})


def safe_account(**more: Any) -> cfg.Account:
    return cfg.Account(token=cfg.Secret(TOKEN), app_id=APP_ID, aes_key=cfg.Secret(AES_KEY), **more)


class Sent:
    """A sent message and its attempts so far."""

    def __init__(self, delivery: Deferred[peer.Delivery]) -> None:
        self.attempts: list[peer.Attempt] = []
        self.delivery: peer.Delivery | None = None
        self.failure: Failure | None = None
        delivery.addCallbacks(self._done, self._failed)

    def _done(self, delivery: peer.Delivery) -> None:
        self.delivery = delivery

    def _failed(self, failure: Failure) -> None:
        self.failure = failure

    @property
    def done(self) -> bool:
        if self.failure is not None:
            self.failure.raiseException()
        return self.delivery is not None

    @property
    def reply(self) -> str | None:
        assert self.done, "no reply yet"
        assert self.delivery is not None
        assert not self.delivery.fault, [str(a) for a in self.delivery.attempts]
        return self.delivery.shown

    @property
    def results(self) -> list[str]:
        return [str(attempt.result) for attempt in self.attempts]


class Story:
    """One service, one model, and any number of users."""

    def __init__(
        self,
        respond: Script | Callable[[list[dict[str, str]]], Script],
        config: cfg.Config | None = None,
        clock_offset: float = 0.0,
    ) -> None:
        self.config = config or configuration()
        self.store = MemoryStore()
        self.short_lived_keys = MemoryShortLivedKeys()
        self.world_clock = Clock()
        script = respond
        self.model = ModelServer(self.world_clock, script if callable(script) else lambda _: script)
        self.outside = Outside(**{"model.test": self.model})
        self._wechats: dict[str, peer.Peer] = {}
        self._stubs: list[StubTreq] = []
        self.proxies: list[str] = []
        self.threaded = 0
        self.damages: list[Exception] = []
        self.clock_offset = clock_offset
        self.backlog: list[_Queued] | None = None
        self.is_down = False
        self.start()

    max_running = 10_000
    clock_type = Clock

    # The service.

    def start(self) -> None:
        self.prepare()
        self.begin()

    def prepare(self) -> None:
        """Start listening, without loading the log."""
        self.clock = self.clock_type()
        self.clock.rightNow = self.world_clock.rightNow
        self._model_http = OutsideHttp(self.outside)
        self._handle = _Handle(self.store)
        self.service = Service(
            self.config,
            Environment(
                clock=self.clock,
                wall=lambda: self.wall() + self.clock_offset,
                store=self._handle,
                http=self._model_http,
                model_http=lambda proxy: self.through_proxy(proxy) if proxy else self._model_http,
                threads=Threads(self._in_thread, self._in_thread, self._in_thread),
                max_running=self.max_running,
                link_key=LINK_KEY,
                short_lived_keys=self.short_lived_keys,
                config_path=Path("/nowhere/wxgptd.toml"),
                reread=lambda: self.config,
                on_damage=self.damages.append,
            ),
        )
        self._wechat_http = StubTreq(self.service.root)
        self._stubs = [self._model_http, self._wechat_http]

    def _in_thread(self, work: Callable[[], Any]) -> Deferred[Any]:
        self.threaded += 1
        return execute(work)

    def through_proxy(self, proxy: str) -> StubTreq:
        """Record the proxy, and return the client used without a proxy."""
        self.proxies.append(proxy)
        return self._model_http

    def begin(self) -> None:
        """Load the log and start working."""
        self.service.load()
        self.service.begin()
        self.is_down = False
        queued, self.backlog = self.backlog or [], None
        for request in queued:
            request.arrive(self._wechat_http)
        self.flush()

    def wall(self) -> float:
        return WALL + self.world_clock.seconds()

    def crash(self) -> None:
        """Kill the process: connections are aborted, and events that are not durable are lost."""
        self._handle.alive = False
        self.store.crash()
        self.clock = Clock()  # the old clock never advances again
        self.clock.rightNow = self.world_clock.rightNow
        for stub in self._stubs:
            for pump in list(stub._agent._pumps):
                pump.serverIO.abortConnection()
                pump.clientIO.abortConnection()
        self.flush()

    def go_down(self, *, listening: bool = False) -> None:
        """End the process; if `listening`, requests are queued until the next start."""
        self.crash()
        self.is_down = True
        self.backlog = [] if listening else None

    def restart(self) -> None:
        self.crash()
        self.start()

    # Time.

    def advance(self, seconds: float, step: float = STEP_S) -> None:
        for _ in range(round(seconds / step)):
            self.world_clock.advance(step)
            self.clock.advance(step)
            self.flush()

    def flush(self) -> None:
        for _ in range(6):
            for stub in self._stubs:
                stub.flush()

    # WeChat.

    def webhook(self, account: str = "main") -> peer.Webhook:
        configured = self.config.account[account]
        key = configured.aes_key.reveal()
        return peer.Webhook(
            url=URL + cfg.webhook_path(account, configured),
            token=configured.token.reveal(),
            app_id=configured.app_id,
            key=crypto.Key(key) if key else None,
        )

    def wechat(self, account: str = "main") -> peer.Peer:
        if account not in self._wechats:
            self._wechats[account] = peer.Peer(
                self.webhook(account), http=_Current(self), clock=self.world_clock, wall=self.wall
            )
        return self._wechats[account]

    def deliver(
        self,
        fields: dict[str, str],
        user: str = "alice",
        attempts: int = 3,
        account: str = "main",
        advance: bool = True,
    ) -> Sent:
        attempted: list[peer.Attempt] = []
        work = self.wechat(account).deliver(user, fields, attempted.append, attempts)
        sent = Sent(Deferred.fromCoroutine(work))
        sent.attempts = attempted
        self.flush()
        if advance:
            self.advance(STEP_S)
        return sent

    def send(self, text: str, user: str = "alice", **more: Any) -> Sent:
        return self.deliver(messages.text_message(text), user, **more)

    def say(self, text: str, user: str = "alice", **more: Any) -> str | None:
        """Send a message that is answered at once, and return the reply."""
        return self.send(text, user, **more).reply

    def open(self, user: str = "alice", **more: Any) -> None:
        self.say("/chatgpt", user, **more)

    def attempt(self, url: str, body: bytes, user: str = "alice", number: int = 1) -> Sent:
        """Make a single attempt with a prepared request."""
        work = self.wechat().attempt(url, body, user, number, self.world_clock.seconds())

        async def alone() -> peer.Delivery:
            attempt = await work
            fault = attempt.result not in ("reply", "success")
            return peer.Delivery((attempt,), None if fault else attempt.detail, fault)

        sent = Sent(Deferred.fromCoroutine(alone()))
        self.flush()
        return sent

    # Pages.

    def get(self, path: str, **headers: str) -> Any:
        """GET a page and return the response, with its text in `.body`."""
        return self._request("GET", path, headers)

    def post(self, path: str, form: Mapping[str, str], **headers: str) -> Any:
        """POST a form like a browser and return the response."""
        typed = {"content_type": "application/x-www-form-urlencoded", **headers}
        return self._request("POST", path, typed, urlencode(form).encode())

    def post_json(self, path: str, value: Any, **headers: str) -> Any:
        """POST JSON like a page's script; return the response, with its JSON, if any, as `.value`."""
        typed = {
            "content_type": "application/json",
            "origin": self.config.server.public_url,
            **headers,
        }
        response = self._request("POST", path, typed, json.dumps(value).encode())
        response.value = None
        if response.headers.getRawHeaders("content-type", [""])[0].startswith("application/json"):
            response.value = json.loads(response.body)
        return response

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Any:
        response: list[Any] = []
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = self._wechat_http.request(method, URL + path, headers=named, data=body)
        sent.addCallback(response.append)
        self.flush()
        assert response, f"no response to {method} {path}"
        texts: list[str] = []
        self._wechat_http.text_content(response[0]).addCallback(texts.append)
        self.flush()
        response[0].body = texts[0] if texts else None
        return response[0]


class _Handle:
    """The store as one incarnation uses it; after a crash, its appends have no effect."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.alive = True

    def append(self, user: User, events: Sequence[InSession], expected: int) -> int:
        return self._store.append(user, events, expected) if self.alive else 0

    def committed(self) -> Deferred[None]:
        return self._store.committed() if self.alive else Deferred()

    def load(self, since: Mapping[type[Event], float]) -> Loaded:
        return self._store.load(since)

    def snapshot(self, capture: Capture) -> Callable[[], Sequence[str]]:
        write = self._store.snapshot(capture)
        return lambda: write() if self.alive else ()

    def shipped(self) -> tuple[int, float] | None:
        return None

    def drop_earlier_snapshots(self) -> None:
        self._store.drop_earlier_snapshots()

    def begin_segment(self) -> Deferred[None]:
        return self._store.begin_segment() if self.alive else Deferred()

    def retain(self, before: float, most_bytes: int) -> RetentionResult:
        return self._store.retain(before, most_bytes)

    def tag(self, user: User) -> int:
        return self._store.tag(user)

    def tagged(self, tag: int) -> User | None:
        return self._store.tagged(tag)

    @property
    def located_since(self) -> float:
        return self._store.located_since

    def figures(self) -> StoreFigures:
        return self._store.figures()

    def full(self) -> bool:
        return self._store.full()


class _Current:
    """The HTTP client that reaches the current incarnation."""

    def __init__(self, story: Story) -> None:
        self._story = story

    def post(self, *args: Any, **kwargs: Any) -> Any:
        story = self._story
        if not story.is_down:
            return story._wechat_http.post(*args, **kwargs)
        if story.backlog is None:
            return fail(Refused())
        story.backlog.append(_Queued(args, kwargs))
        return story.backlog[-1].response


class _Queued:
    """A request accepted by the kernel but not read yet, queued even if its peer hangs up."""

    def __init__(self, args: Any, kwargs: Any) -> None:
        self._request = args, kwargs
        self._sent: Any = None
        self._hung_up = False
        self.response: Deferred[Any] = Deferred(self._hang_up)

    def _hang_up(self, _: Any) -> None:
        self._hung_up = True
        if self._sent is not None:
            self._sent.cancel()

    def arrive(self, http: Any) -> None:
        args, kwargs = self._request
        self._sent = http.post(*args, **kwargs)
        if self._hung_up:
            self._sent.addErrback(lambda _: None)
            self._sent.cancel()
        else:
            self._sent.chainDeferred(self.response)
