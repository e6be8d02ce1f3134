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
    read what users asked: keep it as safe as the state directory. Users who are erased later are
    still in it: delete backups in their time.

    \b
    Examples:
      wxgpt backup /var/backups/wxgptd-$(date +%F).tar.gz
    """
    from wxgptd.eventlog import archive, keyring

    state_dir = options.open_log().state_dir
    master = options.master_key(state_dir)
    found = archive.backup(state_dir, target, master)
    click.echo(f"{target}: events up to {found.last_seq} of {found.users} users, read back")
    if not keyring.master_path(state_dir).exists():
        click.echo("the master key is not in it ([log] master_key): keep that elsewhere", err=True)
