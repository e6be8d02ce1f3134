"""Build runtime objects from the configuration: assistants, webhooks, links, limits."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from hashlib import sha256
from random import Random
from urllib.parse import urlsplit

from wxgptd import config as cfg
from wxgptd.config.site import picture_type
from wxgptd.domain.model.reply_window import HANG_UP_AFTER_S, WECHAT_PATIENCE_S
from wxgptd.domain.model.values import (
    AccountName,
    AssistantName,
    DeliveryKey,
    LinkHash,
    SessionId,
    User,
)
from wxgptd.domain.replies import taps, texts
from wxgptd.llm import parameters, wire
from wxgptd.llm.client import Model, key_headers
from wxgptd.llm.probing import Endpoints
from wxgptd.llm.server import Server
from wxgptd.pages import links
from wxgptd.pages.serving import Site
from wxgptd.pages.site import foot
from wxgptd.ports.store import EventStore
from wxgptd.service.conversation.conversations import Conversations
from wxgptd.service.environment import Environment
from wxgptd.service.state.metrics import Metrics
from wxgptd.service.state.settings import Account, Assistant, Links, Price, Settings
from wxgptd.service.state.snapshotter import Retention
from wxgptd.wechat import crypto
from wxgptd.wechat.customer_service import App, CustomerService
from wxgptd.wechat.forwarding import Forwarder
from wxgptd.wechat.pictures import WeChatPictures
from wxgptd.wechat.signature import Freshness
from wxgptd.wechat.webhook import Credentials, Onward, Webhook


class RuntimeFactory:
    """Builds runtime objects from a configuration, and rebuilds only what the next one changes.

    Unchanged objects are kept because they hold state: models know what their servers accept,
    messengers have a token, webhooks know which signatures they have seen.
    """

    def __init__(self, environment: Environment, metrics: Metrics) -> None:
        self._environment = environment
        self._metrics = metrics
        self._endpoints = Endpoints(environment.clock)
        self._models: dict[str, tuple[tuple[Server, str], Model]] = {}
        self._messengers: dict[str, tuple[App, CustomerService]] = {}
        self._pictures: tuple[cfg.Pictures, WeChatPictures] | None = None
        self._webhooks: dict[str, Webhook] = {}

    def settings(self, config: cfg.Config) -> Settings:
        """Return the operator's settings for conversations."""
        timeouts = config.window.deliberate_timeouts_per_5min
        without_taps = texts.without_taps(config.texts)
        welcome = str if config.reply.taps else taps.without_taps
        return Settings(
            accounts={
                AccountName(name): Account(
                    cfg.policy(config, account),
                    welcome(account.welcome),
                    cfg.compiled_rules(config, name),
                    self._messenger(name, account, config.server.wechat_api),
                )
                for name, account in config.account.items()
            },
            assistants={
                AssistantName(name): _assistant(
                    name, assistant, config, self._model(name, assistant)
                )
                for name, assistant in config.assistant.items()
            },
            texts=config.texts if config.reply.taps else without_taps,
            page_texts=without_taps,
            taps=config.reply.taps,
            pictures=self._fetcher(config.pictures),
            reply_margin_s=config.window.reply_margin,
            deliberate_timeouts_per_5min=None if timeouts == "auto" else timeouts,
            daily_budget=config.limits.daily_budget,
            link_ttl_s=config.links.ttl,
            asks_on_pages=config.pages.ask,
            ask_for_s=config.pages.ask_for,
            shows_model=config.pages.show_model,
            titles=config.pages.titles,
            site=_site(config.site),
            words=config.commands.words,
        )

    def _messenger(
        self, name: str, account: cfg.Account, wechat_api: str
    ) -> CustomerService | None:
        """Return the client that pushes for an account, or None if the account cannot push."""
        if account.push != "auto" or not account.app_secret:
            return None
        app = App(name, account.app_id, account.app_secret.reveal())
        cached = self._messengers.get(name)
        if cached is None or cached[0] != app:
            environment = self._environment
            cached = app, CustomerService(app, environment.http, environment.clock, wechat_api)
            self._messengers[name] = cached
        return cached[1]

    def _model(self, name: str, assistant: cfg.Assistant) -> Model:
        environment, proxy = self._environment, assistant.proxy.reveal()
        server = _server(name, assistant)
        cached = self._models.get(name)
        if cached is None or cached[0] != (server, proxy):
            model = Model(
                server,
                environment.model_http(proxy),
                environment.clock,
                self._endpoints.of(server.url, assistant.api_key.reveal()),
            )
            cached = self._models[name] = (server, proxy), model
        return cached[1]

    def _fetcher(self, pictures: cfg.Pictures) -> WeChatPictures:
        if self._pictures is None or self._pictures[0] != pictures:
            environment = self._environment
            fetcher = WeChatPictures(
                environment.http, environment.clock, pictures.hosts, pictures.max_size
            )
            self._pictures = pictures, fetcher
        return self._pictures[1]

    def webhooks(self, config: cfg.Config, conversations: Conversations) -> Mapping[bytes, Webhook]:
        """Return the accounts' webhooks by path."""
        environment = self._environment
        patience_s = WECHAT_PATIENCE_S - config.window.reply_margin
        forwarder = Forwarder(
            environment.http, environment.clock, patience_s, self._metrics.forwarded
        )
        relayer = Forwarder(
            environment.http,
            environment.clock,
            HANG_UP_AFTER_S,
            lambda *_, **__: None,
            "trying again while WeChat waits",
        )
        webhooks: dict[bytes, Webhook] = {}
        for name, account in config.account.items():
            keys = [key.reveal() for key in (account.aes_key, account.previous_aes_key) if key]
            credentials = Credentials(
                AccountName(name),
                account.token.reveal(),
                account.app_id,
                [crypto.Key(key) for key in keys],
            )
            path = cfg.webhook_path(name, account)

            onward = Onward(forwarder.forward, relayer.to_path(path))
            webhook = self._webhooks.get(name)
            if webhook is None:
                webhook = self._webhooks[name] = Webhook(
                    credentials,
                    conversations,
                    freshness=Freshness(environment.wall, config.server.timestamp_tolerance),
                    onward=onward,
                    # A separate secret, so that no delivery key can ever be a link's token.
                    secret=hmac.digest(environment.link_key, b"\0deliveries", sha256),
                    rejected=self._metrics.rejected,
                )
            webhook.adopt(credentials, onward)
            webhooks[path.encode()] = webhook
        return webhooks


def _server(name: str, assistant: cfg.Assistant) -> Server:
    api_key = assistant.api_key.reveal()
    headers = {header.lower(): value.reveal() for header, value in assistant.extra_headers.items()}
    return Server(
        name=name,
        url=wire.completions_url(assistant.base_url),
        model=assistant.choice[0],
        first_text_timeout_s=assistant.first_text_timeout,
        idle_timeout_s=assistant.idle_timeout,
        total_timeout_s=assistant.total_timeout,
        parameters=_parameters(assistant),
        headers={**key_headers(assistant.auth, api_key), **headers},
        secrets=tuple(filter(None, (api_key, *headers.values(), assistant.proxy.reveal()))),
    )


def _site(site: cfg.Site) -> Site:
    picture = None
    if site.qr_code is not None:
        data = site.qr_code.read_bytes()
        picture = picture_type(data), data
    parts = [link.rsplit(maxsplit=1) for link in site.links]
    links = [(words, address) for words, address in parts]
    return Site(site.name, site.about, picture, foot(site.icp, site.police, site.contact, links))


def _assistant(name: str, assistant: cfg.Assistant, config: cfg.Config, model: Model) -> Assistant:
    language = f"Answer in this language: {assistant.language}" if assistant.language else ""
    return Assistant(
        name=AssistantName(name),
        command=cfg.chat_command(name, assistant),
        title=assistant.title,
        model=model,
        system_prompt="\n\n".join(filter(None, (assistant.system_prompt, language))),
        vision=assistant.vision,
        fallback=tuple(AssistantName(other) for other in assistant.fallback),
        first_token_within_s=assistant.first_token_within,
        max_running=assistant.max_running,
        fits_window=assistant.fit == "window",
        max_context_tokens=assistant.max_context_tokens or config.session.max_context_tokens,
        max_tokens=assistant.max_tokens,
        models=assistant.choice,
        price=Price(assistant.price_per_million.input, assistant.price_per_million.output),
        daily_budget=assistant.daily_budget,
        show_reasoning=assistant.show_reasoning,
    )


def _parameters(assistant: cfg.Assistant) -> Mapping[str, object]:
    """Return the parameters of a request; parameters that are not configured are not sent."""
    configured = {
        "temperature": assistant.temperature,
        "top_p": assistant.top_p,
        "stop": list(assistant.stop) or None,
        "seed": int(assistant.seed) if assistant.seed is not None else None,
    }
    newer = parameters.NEWER_MAX_TOKENS in assistant.extra_body
    return {
        **({} if newer else {parameters.MAX_TOKENS: assistant.max_tokens}),
        parameters.STREAM_OPTIONS: {"include_usage": True},
        **{name: value for name, value in configured.items() if value is not None},
        **assistant.extra_body,
    }


def retention(config: cfg.Config) -> Retention:
    """Return the log's retention settings."""
    log = config.log
    return Retention(log.snapshot_every, log.keep or 0.0, log.max_size or 0, config.links.ttl)


def session_ids() -> Callable[[], SessionId]:
    """Return a function that generates session ids.

    Every message needs one, so generating them must be cheap; they are not secrets.
    """
    source = Random(secrets.token_bytes(32))  # noqa: S311
    return lambda: SessionId(f"{source.getrandbits(40):010x}")


def made_links(config: cfg.Config, key: bytes, store: EventStore) -> Links:
    """Return the functions that build links."""
    url = config.server.public_url

    def token(user: User, delivery: DeliveryKey, issued: Collection[LinkHash]) -> str:
        made = links.make_token(key, store.tag(user), user, delivery)
        if issued and links.hash_token(made) not in issued:
            earlier = links.make_earlier_token(key, user, delivery)
            return earlier if links.hash_token(earlier) in issued else made
        return made

    return Links(
        token=token,
        user=lambda token: store.tagged(links.tag_in(key, token)),
        hash=links.hash_token,
        answer=partial(links.answer_url, url),
        history=partial(links.history_url, url),
        confirmation=partial(links.make_confirmation, key),
        form_token=partial(links.make_form_token, key),
        cookie_name=partial(links.make_cookie_name, key, secure=url.startswith("https:")),
        cookie=partial(links.make_cookie, key),
        secret=partial(links.make_secret, key),
        issued_at=partial(links.issued_at, key),
    )


def host_of(public_url: str) -> str:
    """Return the host name of the pages."""
    return urlsplit(public_url).hostname or ""


def origin_of(public_url: str) -> str:
    """Return the origin of the pages, as browsers send it: scheme, host and unusual port."""
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    with suppress(UnicodeError):
        host = host.encode("idna").decode("ascii")
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = f":{parts.port}" if parts.port not in (None, default) else ""
    return f"{parts.scheme}://{host}{port}".lower()


def path_of(public_url: str) -> str:
    """Return the path prefix under which a reverse proxy serves the pages; no trailing slash."""
    return "/" + public_url.split("/", 3)[3].strip("/") if public_url.count("/") > 2 else ""
