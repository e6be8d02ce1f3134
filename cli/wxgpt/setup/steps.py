"""What is left to do behind `wxgpt init`, in its order; and what to enter in WeChat's backend."""

from __future__ import annotations

from collections.abc import Iterator

from wxgpt.render import pad
from wxgpt.setup.configuration import Wanted
from wxgpt.setup.interview import SYSTEM_CONFIG, Place


def steps(wanted: Wanted, place: Place, *, units: bool, web: str) -> Iterator[str]:
    """Yield each step; what belongs to one is behind its first line."""
    if units:
        yield "systemctl daemon-reload && systemctl enable --now wxgptd.socket wxgptd.service"
    else:
        yield f"wxgptd --config {place.config}        (in a terminal of its own · 另开一个终端)"
    yield f"Have the domain's DNS record point here · 把 {wanted.domain} 解析到这台机器"
    yield from _web(web, wanted.domain, place.port)
    prefix = "wxgpt" if place.config == SYSTEM_CONFIG else f"wxgpt --config {place.config}"
    yield f"{prefix} doctor\n     looks at all of it, and says what to mend · 逐项检查，说该改什么"
    yield _backend(wanted)
    yield f"Say /{wanted.assistant} to the account · 对公众号说 /{wanted.assistant}"


def _web(web: str, domain: str, port: int) -> Iterator[str]:
    match web:
        case "caddy":
            yield "systemctl reload caddy        (it gets the certificate · 证书它自己办)"
        case "nginx":
            yield (
                "With nginx stopped, a certificate · 先停 nginx，申请证书:\n"
                f"     certbot certonly --standalone -d {domain}"
            )
            yield "nginx -t && systemctl restart nginx"
        case _:
            yield (
                f"Have a web server with a certificate pass https://{domain}/ on to "
                f"http://127.0.0.1:{port}/"
            )


def _backend(wanted: Wanted) -> str:
    mode = "安全模式" if wanted.app_id else "明文模式"
    rows = [
        ("服务器地址(URL)", f"https://{wanted.domain}/wx/{wanted.account}"),
        ("令牌(Token)", wanted.token),
        ("EncodingAESKey", wanted.aes_key),
        ("消息加解密方式", mode),
    ]
    table = "\n".join(f"       {pad(name, 16)}  {value}" for name, value in rows)
    return (
        "In WeChat's backend · 在公众号后台: 设置与开发 → 基本配置 → 服务器配置 → 修改配置\n"
        f"{table}\n     提交, then · 然后 启用. (The URL ends without a slash · 末尾不要斜杠)"
    )
