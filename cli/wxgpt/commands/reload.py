"""`wxgpt reload`: have the running daemon take up the configuration as it is now."""

from __future__ import annotations

from urllib.parse import quote

import click

from wxgpt import control, options, render


@click.command("reload")
@options.output_option("text", "json")
def command(output: str) -> None:
    """Have the running daemon take up the configuration.

    All of it is checked first: where anything is wrong, nothing changes. Answers under way go on.
    What is in [server] and [log] takes a restart, and that is said.

    \b
    Examples:
      wxgpt reload
      systemctl reload wxgptd         the same
    """
    from wxgptd.config import ConfigError

    path = options.config_path().absolute()
    text = options.read_config(path)
    status, said = control.request("POST", f"/reload?path={quote(str(path))}", text.encode())
    if status == 400:
        for fault in said["faults"]:
            click.echo(f"{path}: {fault}", err=True)
        count = len(said["faults"])
        raise ConfigError(
            path, [f"{count} mistake{'s' if count > 1 else ''}; the daemon goes on as it was"]
        )
    control.require_ready(status)
    if output == "json":
        click.echo(render.dumps(said))
        return
    click.echo("reloaded: " + (", ".join(said["changed"]) or "nothing in it has changed"))
    for key in said["takes_restart"]:
        click.echo(f"takes a restart: {key}", err=True)
