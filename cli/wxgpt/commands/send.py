"""`wxgpt send`: deliver one message the way WeChat does."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import IO, TYPE_CHECKING

import click

from wxgpt import completing, options, render
from wxgpt.failures import ExpectationUnmet, UsageFailure
from wxgpt.wechat import deliveries, silence, webhooks
from wxgptd.untyped import Reactor
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgpt.wechat.peer import Attempt, Delivery, Message


@click.command("send")
@click.argument("text", required=False)
@click.option(
    "--user",
    default=webhooks.DEFAULT_USER,
    show_default=True,
    metavar="OPENID",
    help="The sender.",
    shell_complete=completing.user,
)
@click.option(
    "--account",
    metavar="NAME",
    help="Account to send to; required if there are several.",
    shell_complete=completing.account,
)
@click.option("--url", metavar="URL", help="Deliver to URL instead of the daemon's listen address.")
@click.option(
    "--encrypt/--plain", default=None, help="Safe mode or plain text.  [default: as configured]"
)
@click.option(
    "--kind", metavar="KIND", help="Send a voice message, a location, ...; TEXT is its content."
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
    help="Send this XML unchanged; - reads it from standard input.",
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
    """Send TEXT the way WeChat does: signed, with a 5 s timeout, in up to three attempts.

    \b
    Examples:
      wxgpt send /chatgpt
      wxgpt send "为什么天是蓝的？"
      wxgpt send --user alice --expect 蓝 "为什么天是蓝的？"
      wxgpt send --tap 继续
      wxgpt send --event subscribe --event-key qrscene_7
      wxgpt send --kind voice "语音识别出来的字"
      wxgpt send --xml message.xml

    Kinds are text, image, voice, video, shortvideo, location, link and sticker.
    """
    from wxgpt.reactor import run
    from wxgpt.wechat import peer

    pattern = _compiled(expect)
    message = _message(text, kind, image, event, event_key, xml_file, tap=tap)
    config = options.load_config()
    hook = webhooks.webhook(config, account, url, encrypt)
    if isinstance(message, str):
        user, to = _addresses(message)
        hook = replace(hook, to=to)

    def report(attempt: Attempt) -> None:
        webhooks.require_listening(attempt, hook)
        if output == "text":
            deliveries.show_attempt(attempt)

    async def deliver(reactor: Reactor) -> Delivery:
        wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)
        return await wechat.deliver(user, message, report)

    delivery = run(deliver)
    silent = delivery.shown is None and url is None
    why = silence.why(config, account, user, message) if silent else None
    if output == "text":
        deliveries.show_delivery(delivery, why and silence.in_words(why, config))
    else:
        click.echo(render.dumps({**deliveries.as_json(message, user, delivery), "why": why}))
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
    from wxgpt.wechat import messages

    if kind is not None and kind not in messages.KINDS:
        raise UsageFailure(
            say("no such kind: {kind}", kind=kind),
            hint=say("kinds: {kinds}", kinds=", ".join(messages.KINDS)),
        )
    chosen = text if kind is None else kind
    if tap and (kind is not None or text is None):
        raise UsageFailure(
            say("--tap needs TEXT, without --kind"), hint=say("see wxgpt send --help")
        )
    if sum(given is not None for given in (chosen, image, event, xml_file)) != 1 or (
        kind is None and event_key and event is None
    ):
        raise UsageFailure(
            say("give exactly one of TEXT, --kind, --image, --event and --xml"),
            hint=say("see wxgpt send --help"),
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
    """Return the sender and the recipient of `xml`.

    Raises:
        UsageFailure: it is not a WeChat message.
    """
    from wxgptd.wechat import envelope

    try:
        fields = envelope.parse(xml.encode())
        return envelope.sender(fields), envelope.recipient(fields)
    except envelope.Malformed as error:
        raise UsageFailure(
            say("not a WeChat message: {error}", error=error),
            hint=say("a message looks like <xml>...</xml>"),
        ) from None


def _compiled(expect: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(expect, re.DOTALL) if expect is not None else None
    except re.error as error:
        raise UsageFailure(
            say("--expect is not a valid regular expression: {error}", error=error)
        ) from None


def _judge(delivery: Delivery, pattern: re.Pattern[str] | None) -> None:
    if pattern is not None and (delivery.fault or not pattern.search(delivery.shown or "")):
        raise ExpectationUnmet(say("the reply does not match {pattern!r}", pattern=pattern.pattern))
    if delivery.fault:
        last = delivery.attempts[-1]
        raise deliveries.UnansweredMessage(
            say("no reply: {detail}", detail=render.printable(last.detail))
        )
