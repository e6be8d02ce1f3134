"""`wxgpt log ship` and `wxgpt log receive`: follow the log of another machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from wxgpt import options
from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgptd.wording import say


@click.command("ship")
@click.option(
    "--after",
    "after",
    metavar="POSITION",
    default="0",
    help="What the other end has: the output of `wxgpt log receive DIR --position`.",
)
@click.option("--once", is_flag=True, help="Stop at the end of the log.")
def ship(after: str, once: bool) -> None:  # fmt: skip
    """Write the log's events to standard output as they happen, for `wxgpt log receive`.

    Users' keys are sent encrypted with the master key. Neither the master key nor the link key is
    sent: the other machine gets them, and the log so far, from a backup.

    \b
    Examples:
      wxgpt backup log.tar.gz          # once; there: wxgpt restore log.tar.gz
      wxgpt log ship | ssh standby wxgpt log receive /var/lib/wxgptd
      wxgpt log ship --after "$(ssh standby wxgpt log receive /var/lib/wxgptd --position)" |
        ssh standby wxgpt log receive /var/lib/wxgptd
    """
    from wxgpt.log import pipes
    from wxgptd.eventlog.shipping.sending import Position

    state_dir = options.load_server().state_dir
    try:
        position = Position.parse(after)
    except ValueError:
        raise UsageFailure(
            say("{after!r} is not a position", after=after),
            hint=say("`wxgpt log receive DIR --position` prints one"),
        ) from None
    if sys.stdout.isatty():
        raise UsageFailure(
            say("standard output is a terminal"), hint=say("pipe it to `wxgpt log receive DIR`")
        )
    master = options.master_key(state_dir)
    try:
        pipes.ship(state_dir, master, position, sys.stdout.buffer, follow=not once)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush
        raise UsageFailure(
            say("the other end has closed the pipe"), hint=say("its own error says why")
        ) from None


@click.command("receive")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--position", "only_position", is_flag=True, help="Only print what DIR has.")
def receive(directory: Path, only_position: bool) -> None:
    """Follow the log of another machine, which `wxgpt log ship` writes to standard input.

    DIR is a state directory: restore a backup of the other machine there first. No daemon may use
    it meanwhile. To take over, stop this command and start the daemon.

    \b
    Examples:
      ssh main wxgpt log ship | wxgpt log receive /var/lib/wxgptd
      wxgpt log receive /var/lib/wxgptd --position
    """
    from wxgpt.log import pipes
    from wxgptd.eventlog import master_key
    from wxgptd.eventlog.shipping.receiving import Receiver
    from wxgptd.eventlog.shipping.sending import position_of

    if only_position:
        click.echo(str(position_of(directory)))
        return
    try:
        master = options.configured_master_key()
    except options.NoConfiguration:
        master = None
    if master is None:
        try:
            master = master_key.read_master(master_key.master_path(directory))
        except OSError as error:
            raise options.NoMasterKey(
                f"{master_key.master_path(directory)}: {error.strerror}",
                hint=say(
                    "`wxgpt backup` on the other machine, and `wxgpt restore` here, come first"
                ),
            ) from None
    with options.writing_as_daemon(directory):
        receiver = Receiver(directory, master)
        try:
            click.echo(
                spoken(
                    "{directory} has the events up to {seq}",
                    directory=directory,
                    seq=receiver.position.seq,
                ),
                err=True,
            )
            pipes.receive(receiver, master, sys.stdin.buffer, _report_position)
        finally:
            receiver.close()
    click.echo(spoken("the stream has ended at event {seq}", seq=receiver.position.seq), err=True)


def _report_position(seq: int) -> None:
    click.echo(spoken("at event {seq}", seq=seq), err=True)
