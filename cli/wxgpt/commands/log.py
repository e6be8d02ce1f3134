"""`wxgpt log`: the event log's files."""

from __future__ import annotations

import click

from wxgpt import options, render


@click.group("log")
def command() -> None:
    """Look after the event log.

    \b
    Examples:
      wxgpt log stat
      wxgpt log verify
      wxgpt log export > events.ndjson
    """


@command.command("stat")
@options.output_option("text", "json")
def stat(output: str) -> None:
    """Show the segments: how many events, how large, how they end."""
    from wxgptd.eventlog import reader, segments

    found = [reader.inspect(path) for path in segments.list_segments(options.log_directory())]
    if output == "json":
        rows = [
            {
                "segment": info.path.name,
                "bytes": info.size,
                "frames": info.frames,
                "events": info.events,
                "ends": type(info.tail).__name__.lower(),
            }
            for info in found
        ]
        click.echo(render.dumps(rows))
        return
    for info in found:
        ends = type(info.tail).__name__.lower()
        click.echo(
            f"{info.path.name}  {info.size:>12,} bytes  {info.frames:>9,} commits"
            f"  {info.events:>9,} events  {ends}"
        )
    total = sum(info.events for info in found)
    click.echo(f"{len(found)} segments, {sum(i.size for i in found):,} bytes, {total:,} events")


@command.command("verify")
def verify() -> None:
    """Read everything, and report every damage; exit status 5 if there is any."""
    from wxgptd.eventlog import framing, reader, segments

    paths = segments.list_segments(options.log_directory())
    damages, due = 0, None
    for index, path in enumerate(paths):
        info, last = reader.inspect(path), index == len(paths) - 1
        first = segments.first_seq_of(path)
        problems: list[tuple[int, str]] = []
        if info.header is None:
            problems.append((0, "the header does not check"))
        elif due is not None and info.header.first_seq != due:
            problems.append((0, f"event {due} expected, {first} found"))
        match info.tail:
            case framing.Damaged() if info.header is not None:
                problems.append((info.tail.end, info.tail.why))
            case framing.Torn() | framing.Unsealed() if not last:
                problems.append((info.tail.end, "ends early, and another segment follows"))
            case framing.Torn():
                click.echo(
                    f"{path.name}: torn at byte {info.tail.end}: the unfinished end of a write, "
                    "trimmed at the next start",
                    err=True,
                )
            case _:
                pass
        for offset, why in problems:
            click.echo(f"{path.name}: byte {offset}: {why}")
        damages += len(problems)
        due = info.tail.next_seq
    if damages:
        raise reader.LogDamaged(
            f"{damages} damage{'s' if damages > 1 else ''} found",
            hint="restore the state directory from a backup, or move the damaged segment and "
            "those after it away: the history before it is whole",
        )
    for _ in reader.scan(options.log_directory()):
        pass  # every payload is decoded, too
    click.echo(f"ok: {len(paths)} segments, events 1 to {(due or 1) - 1}")


@command.command("export")
def export() -> None:
    """Write every event as a line of JSON."""
    from wxgptd.eventlog import reader

    tracker = render.Sessions()
    for record in reader.scan(options.log_directory()):
        click.echo(render.dumps(render.as_json(record, tracker.session_of(record))))
