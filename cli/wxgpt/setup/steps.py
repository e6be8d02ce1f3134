"""The steps that remain after `wxgpt init`, in order, and what to enter in WeChat's backend."""

from __future__ import annotations

import time
from collections.abc import Iterator

from wxgpt.render import pad
from wxgpt.setup.configuration import Wanted
from wxgpt.setup.files import SYSTEM_CONFIG
from wxgpt.setup.interview import Place
from wxgptd.wording import say


def steps(wanted: Wanted, place: Place, *, units: bool, web: str) -> Iterator[str]:
    """Yield each step; further lines of a step are details."""
    if not time.timezone and not time.daylight and place.system:
        yield say(
            "This machine is set to UTC, so times and days would be in UTC:\n"
            "     timedatectl set-timezone Asia/Shanghai"
        )
    if wanted.costs.daily_budget and not wanted.costs.is_agreed:
        yield say(
            "Check the price in {path} (price_per_million): the budget depends on it",
            path=place.config,
        )
    if units:
        yield "systemctl daemon-reload && systemctl enable --now wxgptd.socket wxgptd.service"
    else:
        yield say("wxgptd --config {path}        (in another terminal)", path=place.config)
    yield say("Point the DNS record of {domain} at this machine", domain=wanted.domain)
    yield from _web(web, wanted.domain, place.upstream)
    prefix = "wxgpt" if place.config == SYSTEM_CONFIG else f"wxgpt --config {place.config}"
    yield say("{prefix} doctor\n     checks everything, and suggests fixes", prefix=prefix)
    yield _backend(wanted)
    first_message = "你好" if wanted.only_ai else f"/{wanted.assistant}"
    yield say("Send {text} to the account", text=first_message)


def _web(web: str, domain: str, upstream: str) -> Iterator[str]:
    match web:
        case "caddy":
            yield say("systemctl reload caddy        (it gets the certificate)")
        case "nginx":
            yield say(
                "Get a certificate while nginx still serves its default page on port 80:\n"
                "     certbot certonly --webroot -w /var/www/html -d {domain} "
                '--deploy-hook "systemctl reload nginx"',
                domain=domain,
            )
            yield "nginx -t && systemctl reload nginx"
        case _:
            yield say(
                "Have a web server with a certificate forward https://{domain}/ to "
                "http://{upstream}/",
                domain=domain,
                upstream=upstream,
            )


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
