"""The steps that remain after `wxgpt init`, in order, and what to enter in WeChat's backend."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import NamedTuple

from wxgpt import listening
from wxgpt.options import SYSTEM_CONFIG
from wxgpt.render import pad
from wxgpt.setup import files
from wxgpt.setup.configuration import Wanted
from wxgpt.setup.interview import Place
from wxgptd.wording import say

START = "systemctl daemon-reload\n     systemctl enable --now wxgptd.socket wxgptd.service"
START_CADDY = "systemctl reload-or-restart caddy"


class Step(NamedTuple):
    """What to do; further lines are details.

    `wxgpt init` offers to do it if `is_offered`, with a shell's `command` if there is one.
    """

    text: str
    is_offered: bool = False
    command: str = ""


def steps(wanted: Wanted, place: Place, *, units: bool, web: str) -> Iterator[Step]:
    """Yield each step."""
    if not time.timezone and not time.daylight and place.system:
        yield Step(
            say(
                "This machine is set to UTC, so times and days would be in UTC:\n"
                "     timedatectl set-timezone Asia/Shanghai && systemctl try-restart wxgptd"
            )
        )
    if wanted.costs.daily_budget and not wanted.costs.is_agreed:
        yield Step(
            say(
                "Check the price in {path} (price_per_million): the budget depends on it",
                path=place.config,
            )
        )
    yield Step(say("Point the DNS record of {domain} at this machine", domain=wanted.domain))
    if units:
        yield Step(START, is_offered=True, command=START)
    else:
        yield Step(say("wxgptd --config {path}        (in another terminal)", path=place.config))
    yield from _web(web, wanted.domain, place)
    prefix = "wxgpt" if place.config == SYSTEM_CONFIG else f"wxgpt --config {place.config}"
    yield Step(
        say("{prefix} doctor\n     checks everything, and suggests fixes", prefix=prefix),
        is_offered=units,
    )
    yield Step(_backend(wanted))
    first_message = "你好" if wanted.only_ai else f"/{wanted.assistant}"
    yield Step(say("Send {text} to the account", text=first_message))


def _web(web: str, domain: str, place: Place) -> Iterator[Step]:
    match web:
        case "caddy":
            other = _other_than("caddy") if place.is_this_machine else None
            if other is not None:
                yield Step(
                    say(
                        "Port {port} is used by {holder}, and Caddy needs it:\n"
                        "     systemctl disable --now {name}",
                        port=other.port,
                        holder=other.holder,
                        name=other.name,
                    )
                )
            yield Step(
                say("{command}        (it gets the certificate)", command=START_CADDY),
                is_offered=other is None,  # otherwise it would fail
                command=START_CADDY,
            )
        case "nginx":
            if place.is_this_machine and shutil.which("certbot") is None:
                yield Step("apt install certbot")
            yield Step(
                say(
                    "Get a certificate while nginx still serves its default page on port 80 "
                    "(with your own address after -m):\n"
                    "     certbot certonly --webroot -w /var/www/html -d {domain} "
                    '--deploy-hook "systemctl reload nginx" --agree-tos --no-eff-email '
                    "-m you@example.com",
                    domain=domain,
                )
            )
            site = files.nginx_site(place.root, domain)
            if site.suffix != ".conf":  # nginx would not start without the certificate
                yield Step(f"mv {site} {site.with_suffix('')}")
            yield Step("nginx -t && systemctl reload-or-restart nginx")
        case _:
            yield Step(
                say(
                    "Have a web server with a certificate forward https://{domain}/ to "
                    "http://{upstream}/",
                    domain=domain,
                    upstream=place.upstream,
                )
            )


class _Other(NamedTuple):
    port: int
    holder: str
    name: str


def _other_than(server: str) -> _Other | None:
    """Return which other program listens where the web server `server` would."""
    for port in (80, 443):
        holder = listening.holder_of(port)
        if holder and holder != "?" and not holder.startswith(server):
            return _Other(port, holder, holder.split(" ")[0])
    return None


def _backend(wanted: Wanted) -> str:
    url = f"https://{wanted.domain}/wx/{wanted.account}"
    table = backend_values(url, wanted.token, wanted.aes_key, safe=bool(wanted.app_id))
    return say(
        "In WeChat's backend: developers.weixin.qq.com/platform\n"
        "     微信开发者平台 → 我的业务 → 公众号 → 基础信息 → 域名与消息推送配置\n"
        "     (formerly: 设置与开发 → 基本配置 → 服务器配置)\n"
        "{table}\n     提交, then 启用. (No trailing slash in the URL.\n"
        "     To show this again: wxgpt check --backend)",
        table=table,
    )


def backend_values(url: str, token: str, aes_key: str, *, safe: bool) -> str:
    """Return the four fields of WeChat's form, one per line."""
    rows = [
        ("服务器地址(URL)", url),
        ("令牌(Token)", token),
        ("EncodingAESKey", aes_key),
        ("消息加解密方式", "安全模式" if safe else "明文模式"),
    ]
    return "\n".join(f"       {pad(name, 16)}  {value}" for name, value in rows)
