"""`wxgpt chat`: an interactive `wxgpt send`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

import click

from wxgpt import completing, options
from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgpt.wechat import deliveries, silence, webhooks
from wxgptd.untyped import Reactor, Result
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgpt.prompt import Prompt

PROMPT = "> "


@click.command("chat")
@click.option(
    "--user",
    default=webhooks.DEFAULT_USER,
    show_default=True,
    metavar="OPENID",
    shell_complete=completing.user,
)
@click.option(
    "--account",
    metavar="NAME",
    help="Account to send to; required if there are several.",
    shell_complete=completing.account,
)
@click.option("--url", metavar="URL", help="Deliver to URL instead of the daemon's listen address.")
def command(user: str, account: str | None, url: str | None) -> None:
    """Chat with the daemon as a WeChat user would; ^D quits.

    As in WeChat, you can keep writing while an answer is in progress: 停止 stops it.

    \b
    Examples:
      wxgpt chat
      wxgpt chat --user alice
    """
    from wxgpt.reactor import run
    from wxgpt.wechat import messages, peer

    if not sys.stdin.isatty():
        raise UsageFailure(
            say("chat needs a terminal"), hint=say("use `wxgpt send TEXT` in scripts")
        )
    config = options.load_config()
    hook = webhooks.webhook(config, account, url, None)

    async def converse(reactor: Reactor) -> None:
        from wxgpt.prompt import Prompt

        wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)

        async def say(line: str) -> None:
            message = messages.text_message(line)
            delivery = await wechat.deliver(user, message, report)
            silent = delivery.shown is None and url is None
            why = silence.why(config, account, user, message) if silent else None
            deliveries.show_delivery(delivery, why and silence.in_words(why, config))

        await _converse(Prompt(reactor), say)

    def report(attempt: peer.Attempt) -> None:
        webhooks.require_listening(attempt, hook)
        deliveries.show_attempt(attempt)

    run(converse)


async def _converse(prompt: Prompt, say: Callable[[str], Coroutine[Result, Result, None]]) -> None:
    """Send each line, even while earlier ones are being answered; raise the first error."""
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.python.failure import Failure

    ended: Deferred[None] = Deferred()
    pending: list[Deferred[None]] = []

    def settle(result: Failure | None) -> None:
        if ended.called:
            return
        if isinstance(result, Failure):
            ended.errback(result)
        else:
            ended.callback(None)

    def prompt_again(_: None) -> None:
        click.echo(PROMPT, nl=False, err=True)

    async def listen() -> None:
        click.echo(spoken("Type a message; ^D quits."), err=True)
        while (line := await prompt.ask(PROMPT)) is not None:
            if line.strip():
                sending = Deferred.fromCoroutine(say(line))
                pending.append(sending.addCallbacks(prompt_again, settle))
        await gatherResults(pending)

    Deferred.fromCoroutine(listen()).addBoth(settle)
    await ended
