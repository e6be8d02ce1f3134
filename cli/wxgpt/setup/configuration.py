"""A first configuration: the required settings and some common ones, each with a comment.

The comments are in the operator's language; what users read is in theirs, Chinese by default.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tomlkit

from wxgpt.language import shown
from wxgpt.render import number
from wxgpt.setup.model_choice import Choice
from wxgpt.setup.providers import NO_THINKING
from wxgpt.setup.spending import Spending

ONLY_AI_TTL = "2h"
"""Long sessions do no harm in an account where only the AI answers."""

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def make_token() -> str:
    """Return a Token to share with WeChat's backend: 32 letters and digits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(32))


def make_aes_key() -> str:
    """Return an EncodingAESKey: 43 letters and digits, the base64 of 32 bytes."""
    return "".join(secrets.choice(ALPHABET) for _ in range(43))


class Wanted(NamedTuple):
    """The values of a first configuration."""

    domain: str
    listen: str
    state_dir: Path
    account: str
    token: str
    app_id: str
    aes_key: str
    assistant: str
    model: Choice
    costs: Spending
    fits_window: bool = False
    only_ai: bool = False


_TEMPLATE = """\
# The configuration of wxgptd, written by wxgpt init. After a change: wxgpt reload
# Every key: docs/configuration.md
# It contains secrets: do not share it.

[server]
# The web server in front (nginx, Caddy) forwards requests here.
listen = {listen}
# What a phone can open: links to answers begin with it.
public_url = {public_url}
# The log and its keys. To back them up: wxgpt backup FILE
state_dir = {state_dir}

[account.{account}]
# The same values as in WeChat's backend; to see them: wxgpt check --backend
token = {token}
{safe}
{opening}

[assistant.{assistant}]
# Opens a session in WeChat.
command = {command}
base_url = {base_url}
api_key = {api_key}
model = {model}{more}
# Instructions for the model at the beginning of each conversation.
system_prompt = "你是公众号里的助手，回答简洁。"
# Let the model write only as much as fits the time that WeChat waits.
{fit}fit = "window"
{budget}

[session]
# How long a session lives without activity.
ttl = {ttl}

[limits]
# Limits per user; 0: no limit.
messages_per_minute = 20
questions_per_day = {questions_per_day}
tokens_per_day = 200000

# Messages that are not for the model: keyword replies, or another backend.
#[[rule]]
#match = "keyword"
#words = ["价格", "多少钱"]
#reply = {{ text = "价目表：https://example.com/prices" }}
"""

_ONLY_AI = """\
# The reply to new followers.
welcome = "你好！直接发送问题，AI 就会回答。发送“帮助”可以{tap:/help|看看还能做什么}。"
# The account is only for the AI: people just write, no command is needed.
open_without_command = true"""

_SHARED = """\
# The reply to new followers; the command that opens a session is filled in.
#welcome = "你好！发送 {commands} 开始对话，{tap:/help|看看还能做什么}（/help）。"
# If the account is only for the AI: people just write, no command is needed.
#open_without_command = true"""

_SAFE = """\
# Safe mode: messages are encrypted both ways.
app_id = {app_id}
aes_key = {aes_key}"""

_PLAIN = """\
# Plain text mode. For safe mode (recommended), set these two here and in WeChat's backend.
#app_id = "wx..."
#aes_key = {aes_key}"""


_BUDGET = """\
# Prices per million tokens; compare them with your provider's price list.
price_per_million = {{ input = {input}, output = {output} }}
# Daily budget, in the currency of the prices; once it is spent, the bot pauses. 0: no limit.
daily_budget = {daily_budget}"""

_FREE = """\
# Prices per million tokens, and a daily budget; 0: no limit.
#price_per_million = {{ input = 2, output = 8 }}
#daily_budget = 20"""

_PARTS = (_TEMPLATE, _ONLY_AI, _SHARED, _SAFE, _PLAIN, _BUDGET, _FREE, NO_THINKING)


def comments() -> Iterator[str]:
    """Yield the comments in English, for translation."""
    for part in _PARTS:
        yield from (line[2:] for line in part.split("\n") if line.startswith("# "))


def _in_language(part: str) -> str:
    """Return a part of the file with its comments in the operator's language."""
    lines = part.split("\n")
    return "\n".join(f"# {shown(line[2:])}" if line.startswith("# ") else line for line in lines)


def written(wanted: Wanted) -> str:
    """Return the text of the `wanted` configuration."""

    def quoted(text: str) -> str:
        return tomlkit.string(text).as_string()

    costs = wanted.costs
    safe = _in_language(_SAFE if wanted.app_id else _PLAIN)
    more = _in_language(wanted.model.preset.more)
    return _in_language(_TEMPLATE).format(
        listen=quoted(wanted.listen),
        public_url=quoted(f"https://{wanted.domain}"),
        state_dir=quoted(str(wanted.state_dir)),
        account=wanted.account,
        token=quoted(wanted.token),
        safe=safe.format(app_id=quoted(wanted.app_id), aes_key=quoted(wanted.aes_key)),
        assistant=wanted.assistant,
        command=quoted(f"/{wanted.assistant}"),
        base_url=quoted(wanted.model.base_url),
        api_key=quoted(wanted.model.api_key),
        model=quoted(wanted.model.model),
        more=f"\n{more}" if more else "",
        fit="" if wanted.fits_window else "#",
        opening=_in_language(_ONLY_AI if wanted.only_ai else _SHARED),
        ttl=quoted(ONLY_AI_TTL if wanted.only_ai else "5m"),
        budget=_in_language(_BUDGET if costs.is_counted else _FREE).format(
            input=number(costs.price.input),
            output=number(costs.price.output),
            daily_budget=number(costs.daily_budget),
        ),
        questions_per_day=costs.questions_per_day,
    )
