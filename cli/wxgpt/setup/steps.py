"""The steps that remain after `wxgpt init`, in order, and what to enter in WeChat's backend."""

from __future__ import annotations

import time
from collections.abc import Iterator

from wxgpt.render import pad
from wxgpt.setup.configuration import Wanted
from wxgpt.setup.files import SYSTEM_CONFIG
from wxgpt.setup.interview import Place


def steps(wanted: Wanted, place: Place, *, units: bool, web: str) -> Iterator[str]:
    """Yield each step; further lines of a step are details."""
    if not time.timezone and not time.daylight and place.system:
        yield (
            "This machine is set to UTC, so times and days would be in UTC · 机器用的是 UTC 时间:\n"
            "     timedatectl set-timezone Asia/Shanghai"
        )
    if wanted.daily_budget:
        yield (
            f"Check the price in {place.config} (price_per_million): the budget depends on it\n"
            "     核对配置里的价格（price_per_million），预算按它计算"
        )
    if units:
        yield "systemctl daemon-reload && systemctl enable --now wxgptd.socket wxgptd.service"
    else:
        yield f"wxgptd --config {place.config}        (in another terminal · 另开一个终端)"
    yield f"Point the domain's DNS record at this machine · 把 {wanted.domain} 解析到这台机器"
    yield from _web(web, wanted.domain, place.upstream)
    prefix = "wxgpt" if place.config == SYSTEM_CONFIG else f"wxgpt --config {place.config}"
    yield f"{prefix} doctor\n     checks everything, and suggests fixes · 逐项检查，说该改什么"
    yield _backend(wanted)
    first_message = "你好" if wanted.only_ai else f"/{wanted.assistant}"
    yield f"Send {first_message} to the account · 对公众号说 {first_message}"


def _web(web: str, domain: str, upstream: str) -> Iterator[str]:
    match web:
        case "caddy":
            yield "systemctl reload caddy        (it gets the certificate · 证书它自己办)"
        case "nginx":
            yield (
                "Get a certificate while nginx still serves its default page on port 80 ·\n"
                "     先申请证书，这之前不要重新加载 nginx:\n"
                f"     certbot certonly --webroot -w /var/www/html -d {domain} "
                '--deploy-hook "systemctl reload nginx"'
            )
            yield "nginx -t && systemctl reload nginx"
        case _:
            yield (
                f"Have a web server with a certificate forward https://{domain}/ to "
                f"http://{upstream}/\n"
                f"     让带证书的网站服务器把请求转到 http://{upstream}/"
            )


def _backend(wanted: Wanted) -> str:
    url = f"https://{wanted.domain}/wx/{wanted.account}"
    table = backend_values(url, wanted.token, wanted.aes_key, safe=bool(wanted.app_id))
    return (
        "In WeChat's backend · 在公众号后台: developers.weixin.qq.com/platform\n"
        "     微信开发者平台 → 我的业务 → 公众号 → 基础信息 → 域名与消息推送配置\n"
        "     (formerly · 旧后台: 设置与开发 → 基本配置 → 服务器配置)\n"
        f"{table}\n     提交, then · 然后 启用. (No trailing slash in the URL · 末尾不要斜杠.\n"
        "     To show this again · 再看一遍: wxgpt check --backend)"
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
