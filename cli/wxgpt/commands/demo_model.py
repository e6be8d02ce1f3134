"""`wxgpt demo-model`: run only the demo model."""

from __future__ import annotations

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgptd.untyped import Reactor
from wxgptd.wording import say


@click.command("demo-model")
@click.option(
    "--port",
    default=9008,
    show_default=True,
    metavar="N",
    help="Port on 127.0.0.1; 0 picks a free one.",
)
def command(port: int) -> None:
    """Run an OpenAI-compatible server that needs no model, for trying things out.

    \b
    Examples:
      wxgpt demo-model
      curl -N http://127.0.0.1:9008/v1/chat/completions -d '{"stream": true,
        "messages": [{"role": "user", "content": "用 8 秒写 200 字"}]}'

    The prompt sets the duration and the length of the answer: 8 秒, 8s, 200 字.
    """
    from wxgpt.reactor import run

    async def serve(reactor: Reactor) -> None:
        from twisted.internet.defer import Deferred
        from twisted.internet.error import CannotListenError
        from twisted.web.server import Site

        from wxgpt.demo_model import DemoModel

        site = Site(DemoModel(reactor), parsePOSTFormSubmission=False)
        site.log = lambda request: None  # type: ignore[method-assign]  # noqa: ARG005
        try:
            listening = reactor.listenTCP(port, site, interface="127.0.0.1", backlog=10_000)
        except CannotListenError:
            raise UsageFailure(
                say("port {port} is in use", port=port),
                hint=say("choose another port with --port, or pass --port 0"),
            ) from None
        click.echo(spoken('base_url = "http://127.0.0.1:{port}/v1"', port=listening.getHost().port))
        await Deferred()

    run(serve)
