"""`wxgpt backup`: back up the state directory to one file, while the daemon runs."""

from __future__ import annotations

from pathlib import Path

import click

from wxgpt import options, render
from wxgpt.language import spoken


@click.command("backup")
@click.argument("target", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
def command(target: Path) -> None:
    """Back up the log and the keys to FILE. The daemon can keep running.

    The backup contains the log up to its last complete commit, and is verified by reading it back.
    Anyone who has it can read users' messages, so protect it like the state directory. Users who
    are erased later remain in it, so delete old backups.

    \b
    Examples:
      wxgpt backup /var/backups/wxgptd-$(date +%F).tar.gz
    """
    from wxgptd.eventlog import archive, master_key

    state_dir = options.open_log().state_dir
    master = options.master_key(state_dir)
    contents = archive.backup(state_dir, target, master)
    users = render.counted(contents.users, "user")
    click.echo(
        spoken(
            "{target}: events up to {last_seq} of {users}, verified",
            target=target,
            last_seq=contents.last_seq,
            users=users,
        )
    )
    if not master_key.master_path(state_dir).exists():
        click.echo(
            spoken(
                "note: the master key ([log] master_key) is not in the backup: keep it elsewhere"
            ),
            err=True,
        )
