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
        click.echo(f"{name.replace('_', ' '):<26}{_shown(name, value)}")


def _shown(name: str, value: object) -> object:
    if name == "deliberate_timeouts" and isinstance(value, dict):
        return render.timeouts(value)
    if name == "unanswered" and isinstance(value, dict):
        return render.unanswered(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items()) or "none"
    return "unknown" if value is None else value
