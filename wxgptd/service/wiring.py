"""The composition root: from a configuration to a service. Tests call it too, with fakes.

What needs the outside world (the store, the HTTP client, clocks, threads) is an argument.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from random import Random

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource

from wxgptd import config as cfg
from wxgptd.admin.resource import Admin
from wxgptd.domain import commands as c
from wxgptd.domain.record import Loaded
from wxgptd.domain.reply_window import WECHAT_PATIENCE_S
from wxgptd.domain.values import (
    LOG_ITSELF,
    AccountName,
    AssistantName,
    Limits,
    Policy,
    SessionId,
    Style,
)
from wxgptd.errors import WxgptError
from wxgptd.llm import parameters, wire
from wxgptd.llm.breaker import Breakers
from wxgptd.llm.client import Model, Server, key_headers
from wxgptd.outbound.client import HttpClient
from wxgptd.pages import links
from wxgptd.pages.resource import resources
from wxgptd.pages.serving import Pages
from wxgptd.ports import EventStore, InThread
from wxgptd.service.answering import Answering
from wxgptd.service.asking import Asking, Surroundings
from wxgptd.service.control import Control
from wxgptd.service.conversations import Conversations
from wxgptd.service.departed import Departed
from wxgptd.service.fitting import Fitting
from wxgptd.service.inflight import InFlight
from wxgptd.service.journal import Journal
from wxgptd.service.keeping import Keeping, Retention
from wxgptd.service.library import Library
from wxgptd.service.moderation import Moderation
from wxgptd.service.observers import EventLines
from wxgptd.service.projections import (
    Calibrated,
    DeliberateTimeouts,
    LinkIndex,
    OpenSessions,
    Spending,
)
from wxgptd.service.pushing import Pushing
from wxgptd.service.settings import Account, Assistant, Links, Price, Settings
from wxgptd.service.site import Root
from wxgptd.service.sweeper import Sweeper
from wxgptd.service.timeline import Timeline
from wxgptd.wechat import crypto
from wxgptd.wechat.customer_service import App, CustomerService
from wxgptd.wechat.forwarding import Forwarder
from wxgptd.wechat.pictures import WeChatPictures
from wxgptd.wechat.resource import Credentials, Webhook


@dataclass(frozen=True, slots=True)
class World:
    """What the service needs of the outside."""

    clock: IReactorTime
    wall: Callable[[], float]
    store: EventStore
    http: HttpClient
    http_through: Callable[[str], HttpClient]
    in_thread: InThread
    link_key: bytes
    on_damage: Callable[[WxgptError], None]


class Service:
    """A daemon without its sockets: `load` the log, `begin`, serve `root` and `admin`, `end`."""

    def __init__(self, config: cfg.Config, world: World) -> None:
        timeline = Timeline(world.clock, world.wall)
        self._ready = False
        self._world = world
        self._index = LinkIndex(config.links.ttl)
        self._sessions = OpenSessions()
        self._lines = EventLines(world.link_key)
        self._budget = DeliberateTimeouts(config.window.deliberate_timeouts_per_5min)
        calibrated = Calibrated()
        breakers = Breakers(world.clock)
        settings = _settings(config, world, breakers)
        spending = Spending(
            {name: one.daily_budget for name, one in settings.assistants.items()},
            config.limits.daily_budget,
            {name: one.fallback for name, one in settings.assistants.items()},
            timeline.day,
        )
        self.journal = Journal(
            world.store,
            (self._index, self._sessions, self._lines, self._budget, calibrated, spending),
            world.on_damage,
        )
        self._keeping = Keeping(
            journal=self.journal,
            store=world.store,
            retention=Retention(
                config.log.snapshot_every,
                config.log.keep or 0.0,
                config.log.max_size or 0,
                config.links.ttl,
            ),
            in_thread=world.in_thread,
            on_damage=world.on_damage,
            timeline=timeline,
        )
        self._timeline = timeline
        self._loaded: Loaded | None = None
        flights, departed = InFlight(), Departed()
        made_links = _links(config, world.link_key)
        self.moderation = Moderation(config.moderation.words_file)
        messengers = _messengers(config, world)
        pushing = Pushing(
            settings=settings,
            journal=self.journal,
            links=made_links,
            messengers=messengers,
            timeline=timeline,
        )
        self.answering = Answering(
            settings=settings,
            journal=self.journal,
            flights=flights,
            asking=Asking(
                Surroundings(
                    settings=settings,
                    journal=self.journal,
                    pictures=WeChatPictures(
                        world.http, world.clock, config.pictures.hosts, config.pictures.max_size
                    ),
                    moderation=self.moderation,
                    fitting=Fitting(calibrated.calibration),
                    spending=spending,
                    clock=world.clock,
                    timeline=timeline,
                )
            ),
            pushing=pushing,
            keeping=self._keeping,
            departed=departed,
            timeline=timeline,
        )
        self.conversations = Conversations(
            settings=settings,
            journal=self.journal,
            flights=flights,
            answering=self.answering,
            moderation=self.moderation,
            pushing=pushing,
            budget=self._budget,
            spending=spending,
            departed=departed,
            links=made_links,
            fresh_session=_session_ids(),
            store_full=world.store.full,
            clock=world.clock,
            timeline=timeline,
        )
        self._sweeper = Sweeper(
            journal=self.journal,
            sessions=self._sessions,
            links=self._index,
            carry_out=self.answering.carry_out,
            pushing=pushing,
            keeping=self._keeping,
            clock=world.clock,
            timeline=timeline,
        )
        library = Library(
            journal=self.journal,
            flights=flights,
            index=self._index,
            link_hash=links.hash_token,
            texts=config.texts,
            timeline=timeline,
        )
        pages = Pages(
            library,
            config.texts,
            clock=world.clock,
            in_thread=world.in_thread,
            ready=lambda: self._ready,
            root=_path_of(config.server.public_url),
        )
        self.root = Root(
            webhooks=_webhooks(config, self.conversations, world),
            others=resources(pages),
            ready=lambda: self._ready,
        )
        control = Control(
            journal=self.journal,
            conversations=self.conversations,
            answering=self.answering,
            flights=flights,
            messengers=messengers,
            settings=settings,
            spending=spending,
            sessions=self._sessions,
            budget=self._budget,
            accounts=[AccountName(name) for name in config.account],
            store=world.store,
            keeping=self._keeping,
            ready=lambda: self._ready,
            clock=world.clock,
            timeline=timeline,
        )
        self.admin = Admin(control, control.registry())

    @property
    def held(self) -> int:
        """How many of WeChat's attempts are being held."""
        return self.conversations.held

    def load(self) -> Loaded:
        """Take over what the log has. Not for reactors: it takes a while."""
        now = self._timeline.now()
        self._loaded = self._world.store.load(self.journal.since(now))
        self.journal.load(self._loaded, now)
        return self._loaded

    def note_trimmed(self, segment: str, offset: int, size: int) -> None:
        """Record that a torn tail was cut off the log."""
        now = self._timeline.now()
        command = c.NoteTrimmed(at=now, segment=segment, offset=offset, size=size)
        self.journal.record(LOG_ITSELF, command)

    def begin(self) -> None:
        """Take up work: from here on the service is ready."""
        assert self._loaded is not None
        self._lines.begin()
        self._keeping.begin(
            self._loaded.snapshot_seq,
            exists=self._loaded.snapshot_seq > 0 or bool(self._loaded.skipped),
            stale=self._loaded.stale,
        )
        self._loaded = None
        self._ready = True
        self.answering.begin()
        self.conversations.begin()
        self._sweeper.start()

    def end(self) -> None:
        """Stop working; what is unanswered stays so until the next start."""
        self._ready = False
        self._sweeper.stop()
        self.conversations.end()
        self.answering.end()

    async def settled(self) -> None:
        """Wait for what is still being written beside the log."""
        await self._keeping.settled()

    def reload(self) -> None:
        """Read again what may change while the daemon runs."""
        self.moderation.reload()


def _settings(config: cfg.Config, world: World, breakers: Breakers) -> Settings:
    return Settings(
        accounts={
            AccountName(name): Account(
                _policy(config, account), account.welcome, cfg.compiled_rules(config, name)
            )
            for name, account in config.account.items()
        },
        assistants={
            AssistantName(name): _assistant(name, one, config, world, breakers)
            for name, one in config.assistant.items()
        },
        texts=config.texts,
        reply_margin_s=config.window.reply_margin,
    )


def _policy(config: cfg.Config, account: cfg.Account) -> Policy:
    return Policy(
        session_ttl_s=config.session.ttl,
        max_waiting=config.session.max_waiting,
        max_question_bytes=config.session.max_question,
        settled_for_s=config.window.settled_for,
        link_ttl_s=config.links.ttl,
        welcome=bool(account.welcome),
        open_with=AssistantName(
            (account.assistant or next(iter(config.assistant)))
            if account.open_without_command
            else ""
        ),
        models={
            AssistantName(name): one.choice
            for name, one in config.assistant.items()
            if len(one.choice) > 1
        },
        sighted=frozenset(
            AssistantName(name) for name, one in config.assistant.items() if one.vision
        ),
        style=Style(config.reply.style),
        limits=Limits(
            messages_per_minute=config.limits.messages_per_minute,
            questions_per_day=config.limits.questions_per_day,
            tokens_per_day=config.limits.tokens_per_day,
            only_allowed=config.limits.only_allowed,
        ),
    )


def _messengers(config: cfg.Config, world: World) -> Mapping[AccountName, CustomerService]:
    """Return who can push, for the accounts that have what it takes."""
    return {
        AccountName(name): CustomerService(
            App(name, account.app_id, account.app_secret.reveal()),
            world.http,
            world.clock,
            config.server.wechat_api,
        )
        for name, account in config.account.items()
        if account.push == "auto" and account.app_secret
    }


def _assistant(
    name: str, one: cfg.Assistant, config: cfg.Config, world: World, breakers: Breakers
) -> Assistant:
    api_key = one.api_key.reveal()
    headers = {header.lower(): value.reveal() for header, value in one.extra_headers.items()}
    server = Server(
        name=name,
        url=wire.completions_url(one.base_url),
        model=one.choice[0],
        first_text_timeout_s=one.first_text_timeout,
        idle_timeout_s=one.idle_timeout,
        total_timeout_s=one.total_timeout,
        parameters=_parameters(one),
        headers={**key_headers(one.auth, api_key), **headers},
        secrets=tuple(filter(None, (api_key, *headers.values(), one.proxy.reveal()))),
    )
    http = world.http_through(one.proxy.reveal()) if one.proxy else world.http
    asked_for = f"Answer in this language: {one.language}" if one.language else ""
    return Assistant(
        name=AssistantName(name),
        command=cfg.chat_command(name, one),
        model=Model(server, http, world.clock, breakers.of(server.url, api_key)),
        system_prompt="\n\n".join(filter(None, (one.system_prompt, asked_for))),
        vision=one.vision,
        fallback=tuple(AssistantName(other) for other in one.fallback),
        first_token_within_s=one.first_token_within,
        max_context_tokens=one.max_context_tokens or config.session.max_context_tokens,
        max_tokens=one.max_tokens,
        models=one.choice,
        price=Price(one.price_per_million.input, one.price_per_million.output),
        daily_budget=one.daily_budget,
    )


def _parameters(one: cfg.Assistant) -> Mapping[str, object]:
    """Return what a request asks for beside the question; what is not configured is not sent."""
    given = {
        "temperature": one.temperature,
        "top_p": one.top_p,
        "stop": list(one.stop) or None,
        "seed": int(one.seed) if one.seed is not None else None,
    }
    newer = parameters.NEWER_MAX_TOKENS in one.extra_body
    return {
        **({} if newer else {parameters.MAX_TOKENS: one.max_tokens}),
        parameters.STREAM_OPTIONS: {"include_usage": True},
        **{name: value for name, value in given.items() if value is not None},
        **one.extra_body,
    }


def _session_ids() -> Callable[[], SessionId]:
    """Return what makes names for sessions. They are no secrets, and one a message is wanted."""
    source = Random(secrets.token_bytes(32))  # noqa: S311
    return lambda: SessionId(f"{source.getrandbits(40):010x}")


def _links(config: cfg.Config, key: bytes) -> Links:
    url = config.server.public_url
    return Links(
        token=partial(links.make_token, key),
        hash=links.hash_token,
        answer=partial(links.answer_url, url),
        history=partial(links.history_url, url),
    )


def _webhooks(
    config: cfg.Config, conversations: Conversations, world: World
) -> Mapping[bytes, Resource]:
    webhooks: dict[bytes, Resource] = {}
    forwarder = Forwarder(world.http, world.clock, WECHAT_PATIENCE_S - config.window.reply_margin)
    for name, account in config.account.items():
        keys = [key.reveal() for key in (account.aes_key, account.previous_aes_key) if key]
        credentials = Credentials(
            account.token.reveal(), account.app_id, [crypto.Key(key) for key in keys]
        )
        webhooks[cfg.webhook_path(name, account).encode()] = Webhook(
            AccountName(name),
            credentials,
            conversations,
            wall=world.wall,
            timestamp_tolerance_s=config.server.timestamp_tolerance,
            seconds=world.clock.seconds,
            forward=forwarder.forward,
            # Of its own: no name of a delivery may ever be a link's token.
            secret=hmac.digest(world.link_key, b"\0deliveries", sha256),
        )
    return webhooks


def _path_of(public_url: str) -> str:
    """Return the path below which a reverse proxy serves the pages, without its last slash."""
    return "/" + public_url.split("/", 3)[3].strip("/") if public_url.count("/") > 2 else ""
