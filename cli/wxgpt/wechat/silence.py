"""Ask the daemon why it sent no reply to a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from wxgpt import control, options
from wxgptd.errors import WxgptError
from wxgptd.wechat.envelope import STICKER
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgpt.wechat.peer import Message
    from wxgptd.config import Config

REASONS = {
    "outside": "outside a session, and no rule matches: first send {command}, or set "
    "open_without_command",
    "ignored": "the session has expired, and [session] after_expiry ignores such messages",
    "hinted": "the session has expired, and the hint about it is sent at most once an hour",
    "event": "an event that no rule matches",
    "late": "this message was already answered",
    "erased": "it was sent before its user was erased",
    "ruled": "a rule or another backend handles it, and gave no reply",
    "ask": "blocked or over a limit; the user was notified less than a minute ago",
    "command": "blocked; the user was notified less than a minute ago",
}
"""Reasons for sending no reply, keyed by the message's route (`wxgptd.domain.intake.routing`)."""


def in_words(key: str, config: Config) -> str:
    """Return the daemon's reason as a sentence."""
    from wxgptd.config import chat_command

    template = REASONS.get(key)
    if template is None:
        return say("reason: {why}", why=key)
    commands = [chat_command(name, each) for name, each in config.assistant.items()]
    return say(template, command=commands[0] if commands else "/chatgpt")


def why(config: Config, account: str | None, user: str, message: Message) -> str | None:
    """Return the daemon's reason for not replying to a message, or None if unavailable."""
    if isinstance(message, str):
        return None
    name, _ = options.pick_account(config, account)
    kind, text = _kind_and_text(message)
    query = urlencode({"kind": kind, **({"tapped": 1} if "bizmsgmenuid" in message else {})})
    path = f"/users/{quote(name, safe='')}/{quote(user, safe='')}/whose?{query}"
    try:
        status, result = control.request("POST", path, text.encode())
    except WxgptError:
        return None
    return str(result["whose"]) if status == 200 else None


def _kind_and_text(message: Mapping[str, str]) -> tuple[str, str]:
    """Return the kind of a message, and its text, if any."""
    kind = message["MsgType"]
    text = message.get("Content") or message.get("Recognition") or ""
    return ("sticker", "") if text == STICKER else (kind, text)
