"""`wxgpt reload`: make the running daemon reload its configuration."""

from __future__ import annotations

import click

from wxgpt import control, options, render


@click.command("reload")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@options.output_option("text", "json")
def command(dry_run: bool, output: str) -> None:
    """Reload the configuration in the running daemon.

    The whole file is checked first: if it has an error, nothing changes. Answers in progress
    continue. Changes to [server] and [log] require a restart, and are reported.

    \b
    Examples:
      wxgpt reload
      wxgpt reload --dry-run
      systemctl reload wxgptd         like wxgpt reload, but reports to the journal
    """
    from wxgptd.config import ConfigError

    path = options.config_path().absolute()
    changes = control.reload(path, options.read_config(path), dry=dry_run)
    if "faults" in changes:
        for fault in changes["faults"]:
            click.echo(f"{path}: {fault}", err=True)
        count = len(changes["faults"])
        errors = render.counted(count, "error")
        raise ConfigError(path, [f"reload rejected: {errors}; the daemon is unchanged"])
    if output == "json":
        click.echo(render.dumps(changes))
        return
    outcome = "would be reloaded" if dry_run else "reloaded"
    click.echo(f"{outcome}: " + (", ".join(changes["changed"]) or "nothing has changed"))
    for key in changes["takes_restart"]:
        click.echo(f"restart required: {key}", err=True)
