"""`wxgpt log`: the event log's files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

from wxgpt import control, options, render
from wxgpt.failures import UsageFailure

if TYPE_CHECKING:
    from pathlib import Path

    from wxgptd.eventlog.repair import Plan


VACUUM_S = 600.0


@click.group("log")
def command() -> None:
    """Look after the event log.

    \b
    Examples:
      wxgpt log stat
      wxgpt log verify
      wxgpt log repair --dry-run
      wxgpt log export > events.ndjson
    """


@command.command("stat")
@options.output_option("text", "json")
def stat(output: str) -> None:
    """Show the segments: how many events, how large, how they end.

    \b
    Examples:
      wxgpt log stat
      wxgpt log stat --json
    """
    from wxgptd.eventlog import segments, verifying

    directory, keys = options.open_log()
    found = list(verifying.inspect(directory, keys))
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
            for info in found
        ]
        rows += [{"snapshot": path.name, "bytes": path.stat().st_size} for path in snapshots]
        click.echo(render.dumps(rows))
        return
    for info in found:
        click.echo(
            f"{info.path.name}  {info.size:>12,} bytes  {info.frames:>9,} commits"
            f"  {info.events:>9,} events  {info.tail.__name__.lower()}"
        )
    for path in snapshots:
        click.echo(f"{path.name}  {path.stat().st_size:>11,} bytes  snapshot")
    total = sum(info.events for info in found)
    size = sum(info.size for info in found)
    more = sum(path.stat().st_size for path in snapshots)
    click.echo(
        f"{len(found)} segments, {size:,} bytes, {total:,} events"
        + (f"; {len(snapshots)} snapshots, {more:,} bytes" if snapshots else "")
    )


@command.command("verify")
@options.output_option("text", "json")
def verify(output: str) -> None:
    """Read everything, and report every damage. (A start reads what follows the newest snapshot.)

    \b
    Examples:
      wxgpt log verify
      wxgpt log verify --json

    The exit status is 5 if there is any.
    """
    from wxgptd.eventlog import framing, reader, verifying

    log = options.open_log()
    verdict = verifying.verify(*log)
    for why in verdict.unused:
        click.echo(f"a snapshot is not used: {why}", err=True)
    for info in verdict.segments:
        if info.tail is framing.Torn:
            click.echo(
                f"{info.path.name}: torn at byte {info.offset}: the unfinished end of a write, "
                "trimmed at the next start",
                err=True,
            )
    known, count = log.keys is not None, len(verdict.segments)
    first = verdict.segments[0].next_seq - verdict.segments[0].events if count else 0
    last = verdict.segments[-1].next_seq - 1 if count else 0
    if output == "json":
        damages = [
            {"segment": info.path.name, "offset": damage.offset, "why": damage.why}
            for info in verdict.segments
            for damage in info.damages
        ]
        damages += [{"segment": None, "offset": None, "why": why} for why in verdict.stories]
        said = {"segments": count, "first_seq": first, "last_seq": last, "damages": damages}
        click.echo(render.dumps({"ok": verdict.is_sound, **said, "users_read": known}))
    elif verdict.is_sound:
        unread = "" if known else "; what users said was not looked at"
        click.echo(f"ok: {count} segments, events {first} to {last}{unread}")
    else:
        for line in verdict.lines:
            click.echo(line)
    if not verdict.is_sound:
        raise reader.LogDamaged(
            "the log is damaged",
            hint="`wxgpt log repair --dry-run` says what can be saved; a backup may have more",
        )


@command.command("repair")
@click.option("--dry-run", is_flag=True, help="Only say what would be saved and what is lost.")
def repair(dry_run: bool) -> None:
    """Make a log that can be read again of one that is damaged. Stop the daemon first.

    Every commit that is whole is kept; the damaged log is kept beside it, with what was lost.

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
        click.echo(f"{plan.torn} bytes at the end are what a crash left: the next start trims them")
    if not plan.needed:
        click.echo(f"nothing is damaged: {plan.kept} events")
        return
    if dry_run:
        raise reader.LogDamaged("the log is damaged; nothing was changed (--dry-run)")
    with options.owned_by_daemon(state_dir), segments.StateLock(state_dir):
        aside = directory.with_name(f"{directory.name}.damaged")
        number = 1
        while aside.exists():
            aside, number = directory.with_name(f"{directory.name}.damaged.{number}"), number + 1
        plan = repair.repair(directory, aside, keys, options.load_log().segment_size)
    click.echo(f"{plan.kept} events saved in {directory}")
    click.echo(f"the damaged log is in {aside}" + (" with lost.ndjson" if plan.aside else ""))
    if plan.plain:
        click.echo("it has what users said in the clear: delete it when nobody needs it", err=True)


def _show_plan(plan: Plan) -> None:
    for line in plan.refused:
        click.echo(f"wrong: {line}")
    for gap in plan.gaps:
        click.echo(f"{gap.segment}: byte {gap.offset}: {gap.size} bytes: {gap.why}")
    for first, last in plan.lost_seqs:
        click.echo(f"lost: events {first} to {last}" if last > first else f"lost: event {first}")
    if plan.aside:
        click.echo(f"{plan.aside} events are whole, but rest on lost ones and cannot be kept")
    if plan.keyless:
        click.echo(f"{plan.keyless} users are given up: their keys are lost")
    if plan.begins_at > 1:
        click.echo(
            f"the log will begin with event {plan.begins_at}: what came before is in a snapshot, "
            "so that no state is lost, but tail, usage and export will not show it any more"
        )
    click.echo(f"{plan.kept} events can be saved")


@command.command("export")
def export() -> None:
    """Write every event as a line of JSON; `log import` makes the log of that again.

    Of a log that does not begin with event 1 any more only a backup can be taken back.

    \b
    Examples:
      wxgpt log export > events.ndjson
    """
    from wxgpt.log import exchange
    from wxgptd.eventlog import reader

    log = options.open_log()
    if log.keys is None:
        raise options.NoMasterKey("an export without what was said is none")
    options.note_beginning(log)
    for line in exchange.lines(reader.scan(log.directory, log.keys)):
        click.echo(line, nl=False)  # bytes: an export is UTF-8, wherever it is made


@command.command("import")
@click.argument("source", metavar="FILE", type=click.File("rb"))
def import_(source: IO[bytes]) -> None:
    """Make a log of an export. There must be none yet, and no daemon.

    \b
    Examples:
      wxgpt log import events.ndjson
    """
    from wxgpt.log import exchange
    from wxgptd.eventlog import keyring, segments, whole

    state_dir = options.load_server().state_dir
    directory = segments.log_directory(state_dir)
    with options.owned_by_daemon(state_dir), _locked(state_dir):
        if not whole.is_empty(directory):
            raise UsageFailure(
                f"there is a log in {directory} already",
                hint="import into an empty directory: move that one away first",
            )
        fresh = directory.with_name(f"{directory.name}.importing")
        shutil.rmtree(fresh, ignore_errors=True)  # of an import that was interrupted
        segments.make_private_directory(fresh)
        keys_here = (keyring.master_path(state_dir), segments.keyring_path(state_dir))
        fresh_keys = [path for path in keys_here if not path.exists()]
        try:
            master = options.configured_master_key() or keyring.own_master(state_dir)
            keys = keyring.Keyring(segments.keyring_path(state_dir), master)
            entries = whole.encoded(exchange.read(source), keys)
            count = whole.write(fresh, entries, options.load_log().segment_size)
            if not count:
                raise UsageFailure("there is no event in it", hint="is it what `log export` wrote?")
            whole.place(fresh, directory)
        except BaseException:
            for path in fresh_keys:  # nothing was encrypted with them
                path.unlink(missing_ok=True)
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    click.echo(f"{directory}: {count} events")


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Make the state directory if need be, and keep daemons out of it."""
    from wxgptd.eventlog import segments

    segments.make_private_directory(state_dir)
    with segments.StateLock(state_dir):
        yield


@command.command("vacuum")
@options.output_option("text", "json")
def vacuum(output: str) -> None:
    """Have the running daemon take a snapshot now, and drop what is not to be kept.

    What is kept, [log] keep and max_size say; without them nothing is dropped.

    \b
    Examples:
      wxgpt log vacuum
    """
    status, said = control.request("POST", "/log/vacuum", timeout_s=VACUUM_S)
    control.require_ready(status)
    if output == "json":
        click.echo(render.dumps(said))
        return
    kept = options.load_log()
    if kept.keep is None and kept.max_size is None:
        click.echo("nothing is to be dropped: [log] keep and max_size are empty", err=True)
    click.echo(
        f"snapshot of event {said['snapshot']}; {said['dropped_segments']} segments dropped "
        f"({said['dropped_bytes']:,} bytes), {said['left_bytes']:,} bytes of log left"
    )
