"""`wxgpt context`: the machines of `wxgpt --on NAME`."""

from __future__ import annotations

import click

from wxgpt import contexts, options, render
from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgptd.wording import say


@click.group("context")
def command() -> None:
    """Give other machines names, to run commands there over ssh.

    \b
    Examples:
      wxgpt context add prod root@chat.example.com
      wxgpt --on prod tail -f
      wxgpt context list
    """


@command.command("add")
@click.argument("name")
@click.argument("ssh", metavar="USER@HOST")
@click.option("--command", "there", default="wxgpt", show_default=True, metavar="COMMAND",
              help="What runs wxgpt there, such as 'sudo wxgpt'.")  # fmt: skip
def add(name: str, ssh: str, there: str) -> None:
    """Add a machine, or change it.

    \b
    Examples:
      wxgpt context add prod root@chat.example.com
      wxgpt context add prod me@chat.example.com --command 'sudo /opt/wxgptd/bin/wxgpt'
    """
    contexts.require_name(name)
    contexts.require_destination(ssh)
    contexts.require_command(there)
    contexts.read()  # raises: the file is not valid
    contexts.change(name, contexts.Context(ssh, there))
    click.echo(spoken("{name}: {ssh}; try: wxgpt --on {name} status", name=name, ssh=ssh))


@command.command("list")
@options.output_option("text", "json")
def list_(output: str) -> None:
    """List the machines.

    \b
    Examples:
      wxgpt context list
    """
    known = contexts.read()
    if output == "json":
        click.echo(render.dumps({name: context._asdict() for name, context in known.items()}))
        return
    for name, context in known.items():
        click.echo(f"{render.pad(name, 16)}  {context.ssh}  {context.command}")
    if not known:
        click.echo(spoken("no machines: wxgpt context add NAME USER@HOST"), err=True)


@command.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Remove a machine from the list.

    \b
    Examples:
      wxgpt context remove prod
    """
    if name not in contexts.read():
        raise UsageFailure(say("no such machine: {name}", name=name), hint="wxgpt context list")
    contexts.change(name, None)
    click.echo(spoken("removed: {name}", name=name))
