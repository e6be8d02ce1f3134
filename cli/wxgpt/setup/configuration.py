"""A first configuration: the required settings and some common ones, each with a comment."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import NamedTuple

import tomlkit

from wxgpt.render import number
from wxgpt.setup.model_choice import Choice
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
# wxgptd 的配置，由 wxgpt init 写成；改完运行 wxgpt reload。全部的键：docs/zh/configuration.md
# The configuration of wxgptd, written by `wxgpt init`. After a change: wxgpt reload.
# Every key: docs/configuration.md
#
# 里面有密钥，不要给别人看。 · Contains secrets: do not share it.

[server]
# 前面的网站服务器（nginx、Caddy）把请求转到这里。 · The web server forwards requests here.
listen = {listen}
# 手机上能打开的地址，回答页面的链接以它开头。 · Links to answers begin with this.
public_url = {public_url}
# 日志和密钥都在这里，要备份：wxgpt backup FILE。 · The log and its keys. Backup: wxgpt backup FILE
state_dir = {state_dir}

[account.{account}]
# 这几个值要和微信后台里填的一样。 · The same values as in WeChat's backend.
token = {token}
{safe}
{opening}

[assistant.{assistant}]
# 在微信里发 /{assistant} 开始对话。 · Opens a session in WeChat.
command = {command}
base_url = {base_url}
api_key = {api_key}
model = {model}
{more}# 每次对话开头给模型的说明。 · Instructions for the model.
system_prompt = "你是公众号里的助手，回答简洁。"
# 让模型在微信等得及的时间里写完，回复 “继续” 再展开。 · Answers that fit the time WeChat waits.
{fit}fit = "window"
{budget}

[session]
# 多久没有动静，对话自动结束。 · How long a session lives without activity.
ttl = {ttl}

[limits]
# 每个用户的限制，0 不限。 · Limits per user; 0: no limit.
messages_per_minute = 20
questions_per_day = {questions_per_day}
tokens_per_day = 200000

# 不归模型管的消息：关键词回复，或者交给原来的后台。
# Messages that are not for the model: keyword replies, or another backend.
#[[rule]]
#match = "keyword"
#words = ["价格", "多少钱"]
#reply = {{ text = "价目表：https://example.com/prices" }}
"""

_ONLY_AI = """\
# 关注时的回复。 · The reply to new followers.
welcome = "你好！直接发送问题，AI 就会回答。发送“帮助”可以{tap:/help|看看还能做什么}。"
# 这个公众号只用来和 AI 对话：什么都不用先发，直接问。 · Only for AI: no command is needed.
open_without_command = true"""

_SHARED = """\
# 关注时的回复，{commands} 会换成开始对话的命令。 · The reply to new followers.
#welcome = "你好！发送 {commands} 开始对话，{tap:/help|看看还能做什么}（/help）。"
# 公众号只用来和 AI 对话时：不用先发命令，直接问。 · Only for AI: no command is needed.
#open_without_command = true"""

_SAFE = """\
# 安全模式：来往消息都加密。 · Safe mode: messages are encrypted both ways.
app_id = {app_id}
aes_key = {aes_key}"""

_PLAIN = """\
# 明文模式。换成安全模式（推荐）：填上这两个，微信后台也改。
# Plain text mode. For safe mode (recommended), set these two here and in WeChat's backend.
#app_id = "wx..."
#aes_key = {aes_key}"""


_BUDGET = """\
# 每百万 token 的价格，请和服务商的价目表核对。 · Per million tokens; check the price list.
price_per_million = {{ input = {input}, output = {output} }}
# 一天的预算，和上面的价格同一种货币，花完就停到第二天，0 不限。
# Daily budget, in the currency of the prices above; 0: no limit.
daily_budget = {daily_budget}"""

_FREE = """\
# 每百万 token 的价格和一天的预算，0 不限。 · Prices per million tokens, and a daily budget.
#price_per_million = {{ input = 2, output = 8 }}
#daily_budget = 20"""


def written(wanted: Wanted) -> str:
    """Return the text of the `wanted` configuration."""

    def quoted(text: str) -> str:
        return tomlkit.string(text).as_string()

    costs = wanted.costs
    safe = _SAFE if wanted.app_id else _PLAIN
    return _TEMPLATE.format(
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
        more=f"{more}\n" if (more := wanted.model.preset.more) else "",
        fit="" if wanted.fits_window else "#",
        opening=_ONLY_AI if wanted.only_ai else _SHARED,
        ttl=quoted(ONLY_AI_TTL if wanted.only_ai else "5m"),
        budget=(_BUDGET if costs.is_counted else _FREE).format(
            input=number(costs.price.input),
            output=number(costs.price.output),
            daily_budget=number(costs.daily_budget),
        ),
        questions_per_day=costs.questions_per_day,
    )
