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
    """Show the segments: how many events, how large, how they end.

    \b
    Examples:
      wxgpt log stat
      wxgpt log stat --json
    """
    from wxgptd.eventlog import reader

    found = list(reader.inspect(options.log_directory()))
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
        click.echo(render.dumps(rows))
        return
    for info in found:
        click.echo(
            f"{info.path.name}  {info.size:>12,} bytes  {info.frames:>9,} commits"
            f"  {info.events:>9,} events  {info.tail.__name__.lower()}"
        )
    total = sum(info.events for info in found)
    click.echo(f"{len(found)} segments, {sum(i.size for i in found):,} bytes, {total:,} events")


@command.command("verify")
def verify() -> None:
    """Read everything, and report every damage.

    \b
    Examples:
      wxgpt log verify

    The exit status is 5 if there is any.
    """
    from wxgptd.eventlog import framing, reader

    damages, count, last = 0, 0, 0
    for info in reader.inspect(options.log_directory()):
        count, last = count + 1, info.next_seq - 1
        if info.damage:
            damages += 1
            click.echo(f"{info.path.name}: byte {info.offset}: {info.damage}")
        elif info.tail is framing.Torn:
            click.echo(
                f"{info.path.name}: torn at byte {info.offset}: the unfinished end of a write, "
                "trimmed at the next start",
                err=True,
            )
    if damages:
        raise reader.LogDamaged(
            f"{damages} damaged segment{'s' if damages > 1 else ''}",
            hint="restore the state directory from a backup, or move the first damaged segment "
            "and those after it away: the history before it is whole",
        )
    click.echo(f"ok: {count} segments, events 1 to {last}")


@command.command("export")
def export() -> None:
    """Write every event as a line of JSON.

    \b
    Examples:
      wxgpt log export > events.ndjson
    """
    from wxgptd.eventlog import reader

    tracker = render.Sessions()
    for record in reader.scan(options.log_directory()):
        click.echo(render.dumps(render.as_json(record, tracker.session_of(record))))
