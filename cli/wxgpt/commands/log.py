"""`wxgpt log`: inspect, repair, export, import and ship the event log."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from wxgpt import control, options, render
from wxgpt.failures import UsageFailure

if TYPE_CHECKING:
    from wxgptd.eventlog.repair import Plan


VACUUM_S = 600.0


@click.group("log")
def command() -> None:
    """Inspect, repair, export, import and ship the event log.

    \b
    Examples:
      wxgpt log stat
      wxgpt log verify
      wxgpt log repair --dry-run
      wxgpt log export > events.ndjson
      wxgpt log ship | ssh standby wxgpt log receive /var/lib/wxgptd
    """


@command.command("stat")
@options.output_option("text", "json")
def stat(output: str) -> None:
    """Show each segment: its size, its events and how it ends.

    \b
    Examples:
      wxgpt log stat
      wxgpt log stat --json
    """
    from wxgptd.eventlog import segments, verifying

    directory, keys = options.open_log()
    infos = list(verifying.inspect(directory, keys))
    snapshots = segments.list_snapshots(directory)
    if output == "json":
        rows = [
            {
                "segment": info.path.name,
                "bytes": info.size,
                "frames": info.frames,
                "events": info.events,
                "ends": info.tail.__name__.lower(),
            }
            for info in infos
        ]
        rows += [{"snapshot": path.name, "bytes": path.stat().st_size} for path in snapshots]
        click.echo(render.dumps(rows))
        return
    for info in infos:
        click.echo(
            f"{info.path.name}  {info.size:>12,} bytes  {info.frames:>9,} commits"
            f"  {info.events:>9,} events  {info.tail.__name__.lower()}"
        )
    for path in snapshots:
        click.echo(f"{path.name}  {path.stat().st_size:>11,} bytes  snapshot")
    total = sum(info.events for info in infos)
    size = sum(info.size for info in infos)
    snapshots_size = sum(path.stat().st_size for path in snapshots)
    totals = f"{render.counted(len(infos), 'segment')}, {size:,} bytes"
    totals += f", {render.counted(total, 'event')}"
    if snapshots:
        totals += f"; {render.counted(len(snapshots), 'snapshot')}, {snapshots_size:,} bytes"
    click.echo(totals)


@command.command("verify")
@options.output_option("text", "json")
def verify(output: str) -> None:
    """Read the whole log, and report all damage.

    \b
    Examples:
      wxgpt log verify
      wxgpt log verify --json

    Startup reads only what follows the newest snapshot; this reads everything. The exit status is
    5 if the log is damaged.
    """
    from wxgptd.eventlog import framing, reader, verifying

    log = options.open_log()
    verdict = verifying.verify(*log)
    for why in verdict.unused:
        click.echo(f"snapshot not used: {why}", err=True)
    for info in verdict.segments:
        if info.tail is framing.Torn:
            click.echo(
                f"{info.path.name}: torn tail at byte {info.offset}: an unfinished write, "
                "trimmed at the next startup",
                err=True,
            )
    has_keys, count = log.keys is not None, len(verdict.segments)
    first = verdict.segments[0].next_seq - verdict.segments[0].events if count else 0
    last = verdict.segments[-1].next_seq - 1 if count else 0
    if output == "json":
        damages = [
            {"segment": info.path.name, "offset": damage.offset, "why": damage.why}
            for info in verdict.segments
            for damage in info.damages
        ]
        damages += [{"segment": None, "offset": None, "why": why} for why in verdict.stories]
        summary = {"segments": count, "first_seq": first, "last_seq": last, "damages": damages}
        click.echo(render.dumps({"ok": verdict.is_sound, **summary, "users_read": has_keys}))
    elif verdict.is_sound:
        unread = "" if has_keys else "; users' messages were not checked"
        click.echo(f"ok: {render.counted(count, 'segment')}, events {first} to {last}{unread}")
    else:
        for line in verdict.lines:
            click.echo(line)
    if not verdict.is_sound:
        raise reader.LogDamaged(
            "the log is damaged",
            hint="`wxgpt log repair --dry-run` shows what can be recovered; a backup may have more",
        )


@command.command("repair")
@click.option("--dry-run", is_flag=True, help="Only show what can be recovered and what is lost.")
def repair(dry_run: bool) -> None:
    """Repair a damaged log. Stop the daemon first.

    Every intact commit is recovered. The damaged log is moved aside, with a list of the intact
    events that could not be kept.

    \b
    Examples:
      wxgpt log repair --dry-run
      wxgpt log repair
    """
    from wxgptd.eventlog import reader, repair, segments

    directory = options.open_log().directory
    state_dir = directory.parent
    keys = options.open_keys(state_dir)
    plan = repair.plan(directory, keys)
    if plan.needed:
        _show_plan(plan)
    if plan.torn and not plan.needed:
        click.echo(
            f"torn tail: a crash left {render.counted(plan.torn, 'byte')} at the end, trimmed at "
            "the next startup"
        )
    if not plan.needed:
        click.echo(f"no damage: {render.counted(plan.kept, 'event')}")
        return
    if dry_run:
        raise reader.LogDamaged("the log is damaged; nothing was changed (--dry-run)")
    with options.writing_as_daemon(state_dir), segments.StateLock(state_dir):
        aside = directory.with_name(f"{directory.name}.damaged")
        number = 1
        while aside.exists():
            aside, number = directory.with_name(f"{directory.name}.damaged.{number}"), number + 1
        plan = repair.repair(directory, aside, keys, options.load_log().segment_size)
    click.echo(f"{render.counted(plan.kept, 'event')} recovered in {directory}")
    click.echo(f"the damaged log is in {aside}" + (" with lost.ndjson" if plan.aside else ""))
    if plan.plain:
        click.echo(
            "note: the damaged log contains unencrypted messages: delete it when no longer needed",
            err=True,
        )


def _show_plan(plan: Plan) -> None:
    for line in plan.refused:
        click.echo(f"damaged: {line}")
    for gap in plan.gaps:
        size = render.counted(gap.size, "byte")
        click.echo(f"{gap.segment}: byte {gap.offset}: {size}: {gap.why}")
    for first, last in plan.lost_seqs:
        click.echo(f"lost: events {first} to {last}" if last > first else f"lost: event {first}")
    if plan.aside:
        aside = render.counted(plan.aside, "event")
        click.echo(f"intact, but cannot be kept because they depend on lost ones: {aside}")
    if plan.keyless:
        click.echo(f"erased, because their keys are lost: {render.counted(plan.keyless, 'user')}")
    if plan.begins_at > 1:
        click.echo(
            f"the log will begin at event {plan.begins_at}: earlier state is kept in a snapshot, "
            "but tail, usage and export will no longer show those events"
        )
    click.echo(f"{render.counted(plan.kept, 'event')} can be recovered")


@command.command("export")
def export() -> None:
    """Write every event as a line of JSON, for `log import` to read back.

    If the log no longer begins at event 1, its export cannot be imported: use `wxgpt backup`.

    \b
    Examples:
      wxgpt log export > events.ndjson
    """
    from wxgpt.log import exchange
    from wxgptd.eventlog import reader

    log = options.open_log()
    if log.keys is None:
        raise options.NoMasterKey("cannot export: the master key is needed to decrypt messages")
    options.print_log_start(log)
    for line in exchange.lines(reader.scan(log.directory, log.keys)):
        click.echo(line, nl=False)  # bytes: an export is UTF-8 in any locale


@command.command("import")
@click.argument("source", metavar="FILE", type=click.File("rb"))
def import_(source: IO[bytes]) -> None:
    """Create a log from an export. There must be no log yet, and the daemon must be stopped.

    \b
    Examples:
      wxgpt log import events.ndjson
    """
    from wxgpt.log import exchange
    from wxgptd.eventlog import keyring, log_writing, master_key, segments

    state_dir = options.load_server().state_dir
    directory = segments.log_directory(state_dir)
    with options.writing_as_daemon(state_dir), _locked(state_dir):
        if not log_writing.is_empty(directory):
            raise UsageFailure(
                f"there is already a log in {directory}",
                hint="import into an empty directory: move that log away first",
            )
        fresh = directory.with_name(f"{directory.name}.importing")
        shutil.rmtree(fresh, ignore_errors=True)  # left by an interrupted import
        segments.make_private_directory(fresh)
        keys_here = (master_key.master_path(state_dir), segments.keyring_path(state_dir))
        fresh_keys = [path for path in keys_here if not path.exists()]
        try:
            master = options.configured_master_key() or master_key.own_master(state_dir)
            keys = keyring.Keyring(segments.keyring_path(state_dir), master)
            entries = log_writing.encoded(exchange.read(source), keys)
            count = log_writing.write(fresh, entries, options.load_log().segment_size)
            if not count:
                raise UsageFailure(
                    "the export has no events", hint="was it written by `wxgpt log export`?"
                )
            log_writing.place(fresh, directory)
        except BaseException:
            for path in fresh_keys:  # nothing is encrypted with them yet
                path.unlink(missing_ok=True)
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    click.echo(f"{directory}: {render.counted(count, 'event')}")


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Create the state directory if necessary, and hold its lock to keep daemons out."""
    from wxgptd.eventlog import segments

    segments.make_private_directory(state_dir)
    with segments.StateLock(state_dir):
        yield


@command.command("vacuum")
@options.output_option("text", "json")
def vacuum(output: str) -> None:
    """Make the running daemon take a snapshot, and delete what need not be kept.

    That is what was said in conversations that users have deleted, and segments beyond the limits
    that [log] keep and max_size set.

    \b
    Examples:
      wxgpt log vacuum
    """
    status, result = control.request("POST", "/log/vacuum", timeout_s=VACUUM_S)
    control.require_ready(status)
    if output == "json":
        click.echo(render.dumps(result))
        return
    retention = options.load_log()
    if retention.keep is None and retention.max_size is None:
        click.echo("no segments to drop: [log] keep and max_size are not set", err=True)
    dropped = render.counted(result["dropped_segments"], "segment")
    click.echo(
        f"snapshot at event {result['snapshot']}; {dropped} dropped "
        f"({result['dropped_bytes']:,} bytes), {result['left_bytes']:,} bytes of log left"
    )


@command.command("ship")
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
    import os
    import sys

    from wxgpt.log import pipes
    from wxgptd.eventlog.shipping.sending import Position

    state_dir = options.load_server().state_dir
    try:
        position = Position.parse(after)
    except ValueError:
        raise UsageFailure(
            f"{after!r} is not a position", hint="`wxgpt log receive DIR --position` prints one"
        ) from None
    if sys.stdout.isatty():
        raise UsageFailure(
            "standard output is a terminal", hint="pipe it to `wxgpt log receive DIR`"
        )
    master = options.master_key(state_dir)
    try:
        pipes.ship(state_dir, master, position, sys.stdout.buffer, follow=not once)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush
        raise UsageFailure(
            "the other end has closed the pipe", hint="its own error says why"
        ) from None


@command.command("receive")
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
    import sys

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
                hint="`wxgpt backup` on the other machine, and `wxgpt restore` here, come first",
            ) from None
    with options.writing_as_daemon(directory):
        receiver = Receiver(directory, master)
        try:
            click.echo(f"{directory} has the events up to {receiver.position.seq}", err=True)
            pipes.receive(
                receiver, master, sys.stdin.buffer, lambda word: click.echo(word, err=True)
            )
        finally:
            receiver.close()
    click.echo(f"the stream has ended at event {receiver.position.seq}", err=True)
