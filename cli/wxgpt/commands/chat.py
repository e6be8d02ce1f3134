"""`wxgpt chat`: `send` as a conversation at a prompt."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from wxgpt import completing, options, silence
from wxgpt.commands import send
from wxgpt.failures import UsageFailure

PROMPT = "> "


@click.command("chat")
@click.option(
    "--user",
    default=send.DEFAULT_USER,
    show_default=True,
    metavar="OPENID",
    shell_complete=completing.user,
)
@click.option(
    "--account",
    metavar="NAME",
    help="Which account; needed if there are several.",
    shell_complete=completing.account,
)
@click.option("--url", metavar="URL", help="Deliver here instead of where the daemon listens.")
def command(user: str, account: str | None, url: str | None) -> None:
    """Talk to the daemon as a person in WeChat would; end with ^D.

    As there, you can write while an answer is on its way: 停止 stops it.

    \b
    Examples:
      wxgpt chat
      wxgpt chat --user somebody
    """
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.python.failure import Failure

    from wxgpt import messages, peer
    from wxgpt.reactor import run

    if not sys.stdin.isatty():
        raise UsageFailure("chat needs a terminal", hint="use `wxgpt send TEXT` in scripts")
    config = options.load_config()
    hook = send.webhook(config, account, url, None)

    def tell(attempt: peer.Attempt) -> None:
        send.require_somebody(attempt, hook)
        send.show_attempt(attempt)

    async def converse(reactor: Any) -> None:  # noqa: ANN401
        from wxgpt.prompt import Prompt

        wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)
        prompt = Prompt(reactor)
        ended: Deferred[None] = Deferred()
        under_way: list[Deferred[None]] = []

        def settle(result: Failure | None) -> None:
            if ended.called:
                return
            if isinstance(result, Failure):
                ended.errback(result)
            else:
                ended.callback(None)

        async def say(line: str) -> None:
            message = messages.text_message(line)
            delivery = await wechat.deliver(user, message, tell)
            silent = delivery.shown is None and url is None
            why = silence.why(config, account, user, message) if silent else None
            send.show_delivery(delivery, why)

        async def listen() -> None:
            click.echo("Say something; ^D ends.", err=True)
            while (line := await prompt.ask(PROMPT)) is not None:
                if line.strip():
                    saying = Deferred.fromCoroutine(say(line))
                    under_way.append(saying.addCallbacks(again, settle))
            await gatherResults(under_way)

        def again(_: None) -> None:
            click.echo(PROMPT, nl=False, err=True)

        Deferred.fromCoroutine(listen()).addBoth(settle)
        await ended

    run(converse)
