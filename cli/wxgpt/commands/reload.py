"""`wxgpt reload`: have the running daemon take up the configuration as it is now."""

from __future__ import annotations

import click

from wxgpt import control, options, render


@click.command("reload")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@options.output_option("text", "json")
def command(dry_run: bool, output: str) -> None:
    """Have the running daemon take up the configuration.

    All of it is checked first: where anything is wrong, nothing changes. Answers under way go on.
    What is in [server] and [log] takes a restart, and that is said.

    \b
    Examples:
      wxgpt reload
      wxgpt reload --dry-run
      systemctl reload wxgptd         the same as the first, but its words go to the journal
    """
    from wxgptd.config import ConfigError

    path = options.config_path().absolute()
    said = control.hand_on(path, options.read_config(path), dry=dry_run)
    if "faults" in said:
        for fault in said["faults"]:
            click.echo(f"{path}: {fault}", err=True)
        count = len(said["faults"])
        raise ConfigError(
            path, [f"{count} mistake{'s' if count > 1 else ''}; the daemon goes on as it was"]
        )
    if output == "json":
        click.echo(render.dumps(said))
        return
    what = "would be reloaded" if dry_run else "reloaded"
    click.echo(f"{what}: " + (", ".join(said["changed"]) or "nothing in it has changed"))
    for key in said["takes_restart"]:
        click.echo(f"takes a restart: {key}", err=True)
