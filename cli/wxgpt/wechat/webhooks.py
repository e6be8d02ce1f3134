"""Where to deliver messages, from the configuration or the command line."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wxgpt import options
from wxgpt.failures import Unreachable, UsageFailure
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgpt.wechat.peer import Attempt, Webhook
    from wxgptd.config import Config

DEFAULT_USER = "wxgpt-test-user"


def webhook(
    config: Config, account_name: str | None, url: str | None, encrypt: bool | None
) -> Webhook:
    """Return the webhook to deliver to, from the configuration and the options.

    Raises:
        UsageFailure: the options conflict with the configuration, or `url` is not valid.
    """
    from wxgpt.wechat.peer import Webhook
    from wxgptd import config as cfg
    from wxgptd.wechat.crypto import Key

    name, account = options.pick_account(config, account_name)
    if encrypt and not account.aes_key:
        raise UsageFailure(
            say("account {name} has no aes_key to encrypt with", name=name),
            hint=say("set [account.{name}] app_id and aes_key, or omit --encrypt", name=name),
        )
    if url is not None:
        host_of(url)
    safe = bool(account.aes_key) if encrypt is None else encrypt
    return Webhook(
        url=url or local_address(config.server.listen) + cfg.webhook_path(name, account),
        token=account.token.reveal(),
        app_id=account.app_id,
        key=Key(account.aes_key.reveal()) if safe else None,
    )


def host_of(url: str) -> str:
    """Return the host of `url`.

    Raises:
        UsageFailure: messages cannot be delivered to it.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:
        pass
    raise UsageFailure(
        say("{url!r} is not a URL to deliver to", url=url),
        hint=say("use http://127.0.0.1:PORT/wx/NAME"),
    )


def local_address(listen: str) -> str:
    """Return the local URL of a server endpoint.

    Raises:
        UsageFailure: it is not a TCP endpoint with a port.
    """
    kind, *rest = re.split(r"(?<!\\):", listen)
    settings = dict(part.split("=", 1) for part in rest if "=" in part)
    port = settings.get("port") or next((part for part in rest if part.isdigit()), "")
    if kind not in ("tcp", "tcp6", "ssl") or not port:
        raise UsageFailure(
            say("cannot derive an address from [server] listen = {listen!r}", listen=listen),
            hint=say("pass the address: --url http://127.0.0.1:PORT/wx/NAME"),
        )
    host = settings.get("interface", "127.0.0.1").replace("\\", "")
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 (to connect to, not to bind)
        host = "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if kind == 'ssl' else 'http'}://{shown}:{port}"


def require_listening(attempt: Attempt, hook: Webhook) -> None:
    """Abort immediately if nothing is listening.

    Raises:
        Unreachable: the first attempt was refused (later refusals may be due to a restart).
    """
    from wxgpt.wechat.peer import Result

    if attempt.number == 1 and attempt.result is Result.REFUSED:
        raise Unreachable(
            say("nothing is listening at {url}", url=hook.url),
            hint=say("start the daemon: systemctl start wxgptd (or wxgptd --config FILE)"),
        )


def require_local(host: str) -> None:
    """Check that `host` is this machine.

    Raises:
        UsageFailure: it is not.
    """
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise UsageFailure(
            say("{host} is not this machine", host=host),
            hint=say(
                "users' messages would be sent there; if that is intended, pass --allow-remote"
            ),
        )
