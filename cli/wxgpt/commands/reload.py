"""`wxgpt reload`: make the running daemon reload its configuration."""

from __future__ import annotations

import click

from wxgpt import control, options, render
from wxgpt.language import shown, spoken
from wxgptd.wording import say


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
    faults = _own_faults()
    changes = {} if faults else control.reload(path, options.read_config(path), dry=dry_run)
    faults = faults or changes.get("faults", [])
    if faults:
        for fault in faults:
            click.echo(f"{path}: {shown(fault)}", err=True)
        errors = render.counted(len(faults), "error")
        raise ConfigError(
            path, [say("reload rejected: {errors}; the daemon is unchanged", errors=errors)]
        )
    if output == "json":
        click.echo(render.dumps(changes))
        return
    outcome = spoken("would be reloaded") if dry_run else spoken("reloaded")
    click.echo(f"{outcome}: " + (", ".join(changes["changed"]) or spoken("nothing has changed")))
    for key in changes["takes_restart"]:
        click.echo(spoken("restart required: {key}", key=key), err=True)


def _own_faults() -> list[str]:
    """Return the mistakes that are found here: the daemon's are in English."""
    from wxgptd.config import ConfigError

    try:
        options.load_config()
    except ConfigError as error:
        return error.faults
    return []
