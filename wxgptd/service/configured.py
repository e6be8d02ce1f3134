"""From the configuration to what the service works with: assistants, webhooks, links, limits."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from random import Random

from twisted.web.resource import Resource

from wxgptd import config as cfg
from wxgptd.domain.reply_window import WECHAT_PATIENCE_S
from wxgptd.domain.values import (
    AccountName,
    AssistantName,
    Limits,
    Policy,
    SessionId,
    Style,
)
from wxgptd.llm import parameters, wire
from wxgptd.llm.breaker import Breakers
from wxgptd.llm.client import Model, Server, key_headers
from wxgptd.pages import links
from wxgptd.service.conversations import Conversations
from wxgptd.service.settings import Account, Assistant, Links, Price, Settings
from wxgptd.service.world import World
from wxgptd.wechat import crypto
from wxgptd.wechat.customer_service import App, CustomerService
from wxgptd.wechat.forwarding import Forwarder
from wxgptd.wechat.resource import Credentials, Webhook


def settings(config: cfg.Config, world: World, breakers: Breakers) -> Settings:
    """Return what an operator configures about conversations."""
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
        clear_ends_history=config.links.clear_ends_history,
    )


def messengers(config: cfg.Config, world: World) -> Mapping[AccountName, CustomerService]:
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
        show_reasoning=one.show_reasoning,
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


def session_ids() -> Callable[[], SessionId]:
    """Return what makes names for sessions. They are no secrets, and one a message is wanted."""
    source = Random(secrets.token_bytes(32))  # noqa: S311
    return lambda: SessionId(f"{source.getrandbits(40):010x}")


def made_links(config: cfg.Config, key: bytes) -> Links:
    """Return how links are made."""
    url = config.server.public_url
    return Links(
        token=partial(links.make_token, key),
        hash=links.hash_token,
        answer=partial(links.answer_url, url),
        history=partial(links.history_url, url),
        confirmation=partial(links.make_confirmation, key),
    )


def webhooks(
    config: cfg.Config, conversations: Conversations, world: World
) -> Mapping[bytes, Resource]:
    """Return each account's webhook, by its path."""
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


def path_of(public_url: str) -> str:
    """Return the path below which a reverse proxy serves the pages, without its last slash."""
    return "/" + public_url.split("/", 3)[3].strip("/") if public_url.count("/") > 2 else ""
