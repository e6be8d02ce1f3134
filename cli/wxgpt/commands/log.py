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
from wxgpt.language import shown, spoken
from wxgpt.log import shipping
from wxgptd.wording import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wxgptd.eventlog.repair import Plan
    from wxgptd.eventlog.verifying import SegmentInfo, Verdict


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
    _show_files(infos, snapshots)


def _file_row(name: str, size: str, commits: str, events: str, what: str) -> str:
    figures = "".join(render.pad_left(figure, 12) for figure in (size, commits, events))
    return f"{render.pad(name, 26)}{figures}  {what}".rstrip()


def _show_files(infos: Sequence[SegmentInfo], snapshots: Sequence[Path]) -> None:
    titles = spoken("file"), spoken("bytes"), spoken("commits"), spoken("events")
    render.row(_file_row(*titles, ""))
    for info in infos:
        figures = f"{info.size:,}", f"{info.frames:,}", f"{info.events:,}"
        render.row(_file_row(info.path.name, *figures, shown(info.tail.__name__.lower())))
    for path in snapshots:
        render.row(_file_row(path.name, f"{path.stat().st_size:,}", "", "", spoken("snapshot")))
    total = sum(info.events for info in infos)
    size = sum(info.size for info in infos)
    snapshots_size = sum(path.stat().st_size for path in snapshots)
    totals = spoken(
        "{segments}, {size:,} bytes, {events}",
        segments=render.counted(len(infos), "segment"),
        size=size,
        events=render.counted(total, "event"),
    )
    if snapshots:
        totals += spoken(
            "; {snapshots}, {snapshots_size:,} bytes",
            snapshots=render.counted(len(snapshots), "snapshot"),
            snapshots_size=snapshots_size,
        )
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
        click.echo(spoken("snapshot not used: {why}", why=why), err=True)
    for info in verdict.segments:
        if info.tail is framing.Torn:
            click.echo(
                spoken(
                    "{name}: torn tail at byte {offset}: an unfinished write, trimmed at the "
                    "next startup",
                    name=info.path.name,
                    offset=info.offset,
                ),
                err=True,
            )
    _show_verdict(verdict, output, has_keys=log.keys is not None)
    if not verdict.is_sound:
        raise reader.LogDamaged(
            say("the log is damaged"),
            hint=say(
                "`wxgpt log repair --dry-run` shows what can be recovered; a backup may have more"
            ),
        )


def _show_verdict(verdict: Verdict, output: str, *, has_keys: bool) -> None:
    count = len(verdict.segments)
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
        unread = "" if has_keys else spoken("; users' messages were not checked")
        click.echo(
            spoken(
                "ok: {count}, events {first} to {last}{unread}",
                count=render.counted(count, "segment"),
                first=first,
                last=last,
                unread=unread,
            )
        )
    else:
        for line in verdict.lines:
            click.echo(line)


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
            spoken(
                "torn tail: a crash left {torn} at the end, trimmed at the next startup",
                torn=render.counted(plan.torn, "byte"),
            )
        )
    if not plan.needed:
        click.echo(spoken("no damage: {kept}", kept=render.counted(plan.kept, "event")))
        return
    if dry_run:
        raise reader.LogDamaged(say("the log is damaged; nothing was changed (--dry-run)"))
    with options.writing_as_daemon(state_dir), segments.StateLock(state_dir):
        aside = directory.with_name(f"{directory.name}.damaged")
        number = 1
        while aside.exists():
            aside, number = directory.with_name(f"{directory.name}.damaged.{number}"), number + 1
        plan = repair.repair(directory, aside, keys, options.load_log().segment_size)
    click.echo(
        spoken(
            "{kept} recovered in {directory}",
            kept=render.counted(plan.kept, "event"),
            directory=directory,
        )
    )
    click.echo(
        spoken("the damaged log is in {aside}", aside=aside)
        + (spoken(" with lost.ndjson") if plan.aside else "")
    )
    if plan.plain:
        click.echo(
            spoken(
                "note: the damaged log contains unencrypted messages: delete it when no "
                "longer needed"
            ),
            err=True,
        )


def _show_plan(plan: Plan) -> None:
    for line in plan.refused:
        click.echo(spoken("damaged: {line}", line=line))
    for gap in plan.gaps:
        size = render.counted(gap.size, "byte")
        click.echo(
            spoken(
                "{segment}: byte {offset}: {size}: {why}",
                segment=gap.segment,
                offset=gap.offset,
                size=size,
                why=gap.why,
            )
        )
    for first, last in plan.lost_seqs:
        click.echo(
            spoken("lost: events {first} to {last}", first=first, last=last)
            if last > first
            else spoken("lost: event {first}", first=first)
        )
    if plan.aside:
        aside = render.counted(plan.aside, "event")
        click.echo(
            spoken(
                "intact, but cannot be kept because they depend on lost ones: {aside}", aside=aside
            )
        )
    if plan.keyless:
        click.echo(
            spoken(
                "erased, because their keys are lost: {keyless}",
                keyless=render.counted(plan.keyless, "user"),
            )
        )
    if plan.begins_at > 1:
        click.echo(
            spoken(
                "the log will begin at event {begins_at}: earlier state is kept in a "
                "snapshot, but tail, usage and export will no longer show those events",
                begins_at=plan.begins_at,
            )
        )
    click.echo(spoken("{kept} can be recovered", kept=render.counted(plan.kept, "event")))


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
        raise options.NoMasterKey(
            say("cannot export: the master key is needed to decrypt messages")
        )
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
                say("there is already a log in {directory}", directory=directory),
                hint=say("import into an empty directory: move that log away first"),
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
                    say("the export has no events"),
                    hint=say("was it written by `wxgpt log export`?"),
                )
            log_writing.place(fresh, directory)
        except BaseException:
            for path in fresh_keys:  # nothing is encrypted with them yet
                path.unlink(missing_ok=True)
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    click.echo(f"{directory}: {shown(render.counted(count, 'event'))}")


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
        click.echo(spoken("no segments to drop: [log] keep and max_size are not set"), err=True)
    dropped = render.counted(result["dropped_segments"], "segment")
    click.echo(
        spoken(
            "snapshot at event {snapshot}; {dropped} dropped ({dropped_bytes:,} bytes), "
            "{left_bytes:,} bytes of log left",
            snapshot=result["snapshot"],
            dropped=dropped,
            dropped_bytes=result["dropped_bytes"],
            left_bytes=result["left_bytes"],
        )
    )


command.add_command(shipping.ship)
command.add_command(shipping.receive)
