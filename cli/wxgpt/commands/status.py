"""`wxgpt status`: how the daemon is."""

from __future__ import annotations

import click

from wxgpt import control, options, render


@click.command("status")
@options.output_option("text", "json")
def command(output: str) -> None:
    """Ask the running daemon how it is.

    \b
    Examples:
      wxgpt status
      wxgpt status --json
    """
    _, said = control.request("GET", "/status")
    if output == "json":
        click.echo(render.dumps(said))
        return
    for name, value in said.items():
        shown = (
            ", ".join(f"{key} {number}" for key, number in value.items()) or "none"
            if isinstance(value, dict)
            else value
        )
        click.echo(f"{name.replace('_', ' '):<26}{shown}")
