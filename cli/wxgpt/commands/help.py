"""`wxgpt help`: help on topics common to all commands, and on each command."""

from __future__ import annotations

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken
from wxgpt.topics import TOPICS, topic_text
from wxgptd.wording import say


@click.command("help")
@click.argument("topic", required=False)
@click.pass_context
def command(ctx: click.Context, topic: str | None) -> None:
    """Explain a topic or a command.

    \b
    Examples:
      wxgpt help                  list topics and commands
      wxgpt help exit-codes
      wxgpt help time
      wxgpt help output
      wxgpt help environment
      wxgpt help log              what the lines of the daemon's log mean
      wxgpt help tail             the same as wxgpt tail --help
    """
    from wxgpt.main import COMMANDS, cli

    if topic is None:
        click.echo(spoken("Topics:"))
        for name, (about, _) in TOPICS.items():
            click.echo(f"  {name:<13} {shown(about)}")
        click.echo(spoken("\nCommands: {commands}", commands=", ".join(COMMANDS)))
    elif topic in TOPICS:
        click.echo(topic_text(topic), nl=False)
    elif (target := cli.get_command(ctx, topic)) is not None:
        assert ctx.parent is not None
        with target.context_class(target, parent=ctx.parent, info_name=topic) as inner:
            click.echo(target.get_help(inner))
    else:
        raise UsageFailure(
            say("no such topic: {topic}", topic=topic),
            hint=say("topics: {topics}", topics=", ".join(TOPICS)),
        )
