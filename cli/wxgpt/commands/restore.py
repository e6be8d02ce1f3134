"""`wxgpt restore`: restore the state directory from a backup."""

from __future__ import annotations

from pathlib import Path

import click

from wxgpt import options, render
from wxgpt.language import spoken


@click.command("restore")
@click.argument("source", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
def command(source: Path) -> None:
    """Restore the state directory from the backup FILE. The directory must not contain a log yet.

    Stop the daemon first, and run this as root or as the daemon's user.

    \b
    Examples:
      wxgpt restore /var/backups/wxgptd-2026-01-31.tar.gz
    """
    from wxgptd.eventlog import archive

    state_dir = options.load_server().state_dir
    with options.writing_as_daemon(state_dir):
        contents = archive.restore(source, state_dir, options.configured_master_key())
    users = render.counted(contents.users, "user")
    click.echo(
        spoken(
            "{state_dir}: events up to {last_seq} of {users}, verified",
            state_dir=state_dir,
            last_seq=contents.last_seq,
            users=users,
        )
    )
