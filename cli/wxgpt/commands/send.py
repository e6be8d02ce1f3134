"""`wxgpt send`: one message, delivered the way WeChat does."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from wxgpt import completing, options, render, silence
from wxgpt.failures import ExpectationUnmet, Unreachable, UsageFailure
from wxgptd.errors import WxgptError

if TYPE_CHECKING:
    from wxgpt.peer import Attempt, Delivery, Message, Webhook
    from wxgptd.config import Config

DEFAULT_USER = "wxgpt-test-user"


@click.command("send")
@click.argument("text", required=False)
@click.option(
    "--user",
    default=DEFAULT_USER,
    show_default=True,
    metavar="OPENID",
    help="Who sends.",
    shell_complete=completing.user,
)
@click.option(
    "--account",
    metavar="NAME",
    help="To which account; needed if there are several.",
    shell_complete=completing.account,
)
@click.option("--url", metavar="URL", help="Deliver here instead of where the daemon listens.")
@click.option(
    "--encrypt/--plain", default=None, help="Safe mode or not.  [default: as the account has it]"
)
@click.option(
    "--kind", metavar="KIND", help="Send a voice, a location and so on; TEXT is what it says."
)
@click.option("--tap", is_flag=True, help="Send TEXT as if the user had tapped it.")
@click.option("--image", metavar="URL", help="Send a picture: short for --kind image URL.")
@click.option(
    "--event", metavar="NAME[:KEY]", help="Send an event, such as subscribe or CLICK:KEY."
)
@click.option("--event-key", default="", metavar="KEY", help="The event's EventKey.")
@click.option(
    "--xml",
    "xml_file",
    type=click.File("rb"),
    metavar="FILE",
    help="Send this XML as it is; - reads it from standard input.",
)
@click.option("--expect", metavar="REGEX", help="Fail with status 6 unless the reply matches.")
@options.output_option("text", "json")
def command(
    text: str | None,
    user: str,
    account: str | None,
    url: str | None,
    encrypt: bool | None,
    kind: str | None,
    tap: bool,
    image: str | None,
    event: str | None,
    event_key: str,
    xml_file: IO[bytes] | None,
    expect: str | None,
    output: str,
) -> None:
    """Send TEXT the way WeChat does: signed, 5 seconds of patience, up to three attempts.

    \b
    Examples:
      wxgpt send /chatgpt
      wxgpt send "为什么天是蓝的？"
      wxgpt send --user somebody --expect 蓝 "为什么天是蓝的？"
      wxgpt send --tap 继续
      wxgpt send --event subscribe --event-key qrscene_7
      wxgpt send --kind voice "语音识别出来的字"
      wxgpt send --xml message.xml

    Kinds are text, image, voice, video, shortvideo, location, link and sticker.
    """
    from wxgpt import peer
    from wxgpt.reactor import run

    pattern = _compiled(expect)
    message = _message(text, kind, image, event, event_key, xml_file, tap=tap)
    config = options.load_config()
    hook = webhook(config, account, url, encrypt)
    if isinstance(message, str):
        user, to = _addresses(message)
        hook = replace(hook, to=to)

    def tell(attempt: Attempt) -> None:
        require_somebody(attempt, hook)
        if output == "text":
            show_attempt(attempt)

    async def deliver(reactor: Any) -> Delivery:  # noqa: ANN401
        wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)
        return await wechat.deliver(user, message, tell)

    delivery = run(deliver)
    silent = delivery.shown is None and url is None
    why = silence.why(config, account, user, message) if silent else None
    if output == "text":
        show_delivery(delivery, why)
    else:
        click.echo(render.dumps({**as_json(message, user, delivery), "why": why}))
    _judge(delivery, pattern)


def _message(
    text: str | None,
    kind: str | None,
    image: str | None,
    event: str | None,
    event_key: str,
    xml_file: IO[bytes] | None,
    *,
    tap: bool,
) -> Message:
    from wxgpt import messages

    if kind is not None and kind not in messages.KINDS:
        raise UsageFailure(f"there is no kind {kind}", hint=f"known: {', '.join(messages.KINDS)}")
    chosen = text if kind is None else kind
    if tap and (kind is not None or text is None):
        raise UsageFailure("--tap goes with TEXT", hint="see wxgpt send --help")
    if sum(given is not None for given in (chosen, image, event, xml_file)) != 1 or (
        kind is None and event_key and event is None
    ):
        raise UsageFailure(
            "give one of TEXT, --kind, --image, --event and --xml", hint="see wxgpt send --help"
        )
    if xml_file is not None:
        return xml_file.read().decode("utf-8", "replace")
    if kind is not None:
        return messages.message(kind, text or "")
    if image is not None:
        return messages.image_message(image)
    if event is not None:
        name, _, key = event.partition(":")
        return messages.event_message(name, event_key or key)
    return messages.text_message(text or "", tapped=tap)


def _addresses(xml: str) -> tuple[str, str]:
    """Return who sends `xml`, and to whom."""
    from wxgptd.wechat import envelope

    try:
        fields = envelope.parse(xml.encode())
        return envelope.sender(fields), envelope.recipient(fields)
    except envelope.Malformed as error:
        raise UsageFailure(
            f"that is no message: {error}", hint="WeChat's look like <xml>...</xml>"
        ) from None


def webhook(
    config: Config, account_name: str | None, url: str | None, encrypt: bool | None
) -> Webhook:
    """Return the webhook to deliver to, by the configuration and the options."""
    from wxgpt.peer import Webhook
    from wxgptd import config as cfg
    from wxgptd.wechat.crypto import Key

    name, account = options.pick_account(config, account_name)
    if encrypt and not account.aes_key:
        raise UsageFailure(
            f"account {name} has no aes_key to encrypt with",
            hint=f"set [account.{name}] app_id and aes_key, or leave --encrypt out",
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
    """Return the host that `url` names.

    Raises:
        UsageFailure: it is no address that messages can be delivered to.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:
        pass
    raise UsageFailure(
        f"{url!r} is no address to deliver to", hint="write http://127.0.0.1:PORT/wx/NAME"
    )


def local_address(listen: str) -> str:
    """Return the address on this machine of a server endpoint."""
    kind, *rest = re.split(r"(?<!\\):", listen)
    settings = dict(part.split("=", 1) for part in rest if "=" in part)
    port = settings.get("port") or next((part for part in rest if part.isdigit()), "")
    if kind not in ("tcp", "tcp6", "ssl") or not port:
        raise UsageFailure(
            f"where {listen!r} listens cannot be told from the configuration",
            hint="name the address with --url http://127.0.0.1:PORT/wx/NAME",
        )
    host = settings.get("interface", "127.0.0.1").replace("\\", "")
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 (to connect to, not to bind)
        host = "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if kind == 'ssl' else 'http'}://{shown}:{port}"


def require_somebody(attempt: Attempt, hook: Webhook) -> None:
    """Give up at once where nothing listens.

    Raises:
        Unreachable: the first attempt was refused; later ones may meet a restart.
    """
    from wxgpt.peer import Result

    if attempt.number == 1 and attempt.result is Result.REFUSED:
        raise Unreachable(
            f"nothing listens at {hook.url}", hint="start the daemon: wxgptd --config FILE"
        )


def show_attempt(attempt: Attempt) -> None:
    """Print one attempt."""
    detail = "" if attempt.result == "reply" else render.printable(attempt.detail)
    click.echo(
        f"  attempt {attempt.number}  after {attempt.began_s:4.1f} s  "
        f"took {attempt.took_s:4.1f} s  {attempt.result:<8} {detail}".rstrip()
    )


def show_delivery(delivery: Delivery, why: str | None = None) -> None:
    """Print what the sender sees at the end; `why`, where that is nothing and the reason known."""
    if delivery.shown is None:
        click.echo(f"the user sees nothing (the answer was `success`, {delivery.took_s:.1f} s)")
        if why is not None:
            click.echo(f"  {silence.REASONS.get(why, f'the daemon calls it {why}')}")
        return
    seen = "WeChat's fault text" if delivery.fault else "this"
    click.echo(f"the user sees {seen} after {delivery.took_s:.1f} s:")
    shown = render.with_taps_shown(render.multiline(delivery.shown))
    for line in shown.split("\n"):
        click.echo(f"  │ {line}".rstrip())


def as_json(message: Message, user: str, delivery: Delivery) -> dict[str, object]:
    """Return the delivery for scripts."""
    return {
        "user": user,
        "delivery": None if isinstance(message, str) else message.get("MsgId"),
        "attempts": [
            {
                "number": attempt.number,
                "began_s": round(attempt.began_s, 3),
                "took_s": round(attempt.took_s, 3),
                "result": str(attempt.result),
                "detail": attempt.detail if attempt.result != "reply" else "",
            }
            for attempt in delivery.attempts
        ],
        "took_s": round(delivery.took_s, 3),
        "reply": None if delivery.fault else delivery.shown,
        "fault": delivery.fault,
    }


def _compiled(expect: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(expect, re.DOTALL) if expect is not None else None
    except re.error as error:
        raise UsageFailure(f"--expect is no regular expression: {error}") from None


def _judge(delivery: Delivery, pattern: re.Pattern[str] | None) -> None:
    if pattern is not None and (delivery.fault or not pattern.search(delivery.shown or "")):
        raise ExpectationUnmet(f"the reply does not match {pattern.pattern!r}")
    if delivery.fault:
        last = delivery.attempts[-1]
        raise UnansweredMessage(f"no reply: {render.printable(last.detail)}")


class UnansweredMessage(WxgptError):
    """WeChat would have shown its fault text"""
