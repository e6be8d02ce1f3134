"""`wxgpt backup`: the state directory as one file, while the daemon runs."""

from __future__ import annotations

from pathlib import Path

import click

from wxgpt import options


@click.command("backup")
@click.argument("target", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
def command(target: Path) -> None:
    """Write a backup of the log and the keys to FILE. The daemon may go on.

    It has everything up to some event, and is read back before this says so. Whoever has it can
    read what users asked: keep it as safe as the state directory.

    \b
    Examples:
      wxgpt backup /var/backups/wxgptd-$(date +%F).tar.gz
    """
    from wxgptd.eventlog import archive

    options.log_directory()  # says what is wrong where there is none
    found = archive.backup(options.load_server().state_dir, target)
    click.echo(f"{target}: events 1 to {found.last_seq} of {found.users} users, read back")
