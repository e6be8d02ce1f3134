"""`wxgpt usage`: answers, tokens and costs."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click

from wxgpt import control, options, render
from wxgpt.daemon_words import heard
from wxgpt.language import shown, spoken
from wxgpt.log import feedback as ratings
from wxgpt.log import rendering
from wxgptd.wording import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wxgptd.domain.model.values import SessionId
    from wxgptd.ports.record import AnyRecord

COLUMNS = (
    "answers", "failures", "prompt_tokens", "completion_tokens", "estimated_tokens", "cost",
    "unanswered",
)  # fmt: skip

LEAST_NAME_COLUMNS, CELL_COLUMNS = 12, 11
TITLES = (say("answers"), say("failed"), say("prompt"), say("completion"), say("cost"))
ERASED = say("(erased)")
GROUPINGS = (say("day"), say("user"), say("assistant"), say("model"))


@dataclass
class Row:
    """The totals of one row. `estimated_tokens` are included in the other token counts.

    `unanswered` counts messages without a reply; it is available only by day.
    """

    answers: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated_tokens: int = 0
    cost: float = 0.0
    unanswered: int = 0


@click.command("usage")
@click.option(
    "--by",
    type=click.Choice([str(each) for each in GROUPINGS]),
    default="day",
    show_default=True,
    help="How to group the rows.",
)
@click.option("--since", type=options.Time(), metavar="TIME", help="From this time on.")
@click.option("--until", type=options.Time(), metavar="TIME", help="Up to this time.")
@click.option("--failed", is_flag=True, help="List the answers that failed instead, and why.")
@click.option("--feedback", is_flag=True, help="Show how users rated the answers instead.")
@options.output_option("text", "json", "csv")
def command(
    by: str,
    since: float | None,
    until: float | None,
    failed: bool,
    feedback: bool,
    output: str,
) -> None:
    """Show token usage and costs, from the log.

    Costs use the prices in force when each answer was written ([assistant.NAME] price_per_million).
    Token counts come from the model servers, or are estimated if a server reported none.

    \b
    Examples:
      wxgpt usage
      wxgpt usage --by user --since 7d
      wxgpt usage --by assistant --since 2026-01-01 -o csv
      wxgpt usage --feedback --by model
      wxgpt usage --failed --since 1d
    """
    from wxgptd.eventlog import reader

    log = options.open_log()
    options.print_log_start(log)
    records = reader.scan(log.directory, log.keys)
    if failed:
        _show_failed(records, since, until, output)
        return
    if feedback:
        _show_feedback(ratings.count(records, by, since, until), by, output)
        return
    rows = count(records, by, since, until)
    ordered = sorted(rows.items(), key=lambda pair: pair[0] if by == "day" else -pair[1].cost)
    if output == "json":
        click.echo(render.dumps([{by: name, **_plain(row)} for name, row in ordered]))
    elif output == "csv":
        _write_csv([by, *COLUMNS], ((name, *_plain(row).values()) for name, row in ordered))
    elif ordered:
        titles = tuple(map(shown, TITLES))
        click.echo(_line(shown(by), (*titles, spoken("unanswered")) if by == "day" else titles))
        known = control.names() if by == "user" else {}
        for name, row in ordered:
            account = name.partition("/")[0]
            who = f"{account}/{known[name]}" if name in known else name
            click.echo(_line(who.replace(ERASED, spoken(ERASED)), _cells(row, by)))
        if len(ordered) > 1:
            click.echo(_line(spoken("total"), _cells(_sum(rows.values()), by)))
        if any(row.estimated_tokens for row in rows.values()):
            click.echo(spoken("~ includes estimates, because a server reported no usage"), err=True)
    else:
        click.echo(spoken("no usage"), err=True)


def count(
    records: Iterable[AnyRecord],
    by: str,
    since: float | None,
    until: float | None,
) -> dict[str, Row]:
    """Return the rows, keyed by day, user, assistant or model, as `by` selects."""
    from wxgptd.domain.model import events as e

    rows: dict[str, Row] = {}
    assistants: dict[SessionId, str] = {}
    for record in records:
        session, event = record.session, record.event
        if isinstance(event, e.SessionOpened):
            assistants[event.session] = event.assistant
        counted = e.AnswerCompleted | e.AnswerFailed | e.SessionTitled | e.MessagesUnanswered
        if not isinstance(event, counted):
            continue
        if not (since or 0.0) <= event.at < (until or float("inf")):
            continue
        own = assistants.get(session, "?")
        if isinstance(event, e.MessagesUnanswered):
            if by == "day":
                day = f"{datetime.fromtimestamp(event.at):%Y-%m-%d}"
                rows.setdefault(day, Row()).unanswered += event.count
            continue
        names = {
            "day": f"{datetime.fromtimestamp(event.at):%Y-%m-%d}",
            "user": _user_name(record),
            "assistant": own,
            "model": "?",
        }
        names["assistant"] = event.usage.assistant or own
        if isinstance(event, e.AnswerCompleted | e.SessionTitled):
            names["model"] = event.model
        row = rows.setdefault(names[by], Row())
        if isinstance(event, e.AnswerFailed):
            row.failures += 1
        elif isinstance(event, e.AnswerCompleted):
            row.answers += 1
        row.prompt_tokens += event.usage.prompt_tokens
        row.completion_tokens += event.usage.completion_tokens
        row.cost += event.usage.cost
        if event.usage.estimated or isinstance(event, e.AnswerFailed):
            row.estimated_tokens += event.usage.tokens
    return rows


def _show_failed(
    records: Iterable[AnyRecord], since: float | None, until: float | None, output: str
) -> None:
    """List the answers that failed."""
    from wxgptd.domain.model import events as e

    names = control.names() if output == "text" else {}
    found = [
        record
        for record in records
        if isinstance(record.event, e.AnswerFailed)
        and (since or 0.0) <= record.event.at < (until or float("inf"))
    ]
    if output == "json":
        click.echo(render.dumps([rendering.as_json(record) for record in found]))
        return
    if output == "csv":
        head = ["user", "at", "assistant", "reason", "detail"]
        _write_csv(head, (_failure(record) for record in found))
        return
    for record in found:
        assert isinstance(record.event, e.AnswerFailed)
        at = rendering.when(record.event.at, utc=False)
        who = render.pad(rendering.who(record.user, names), 10)
        why = shown(rendering.words(record.event.reason))
        assistant = render.pad(record.event.usage.assistant, 10)
        detail = render.printable(heard(record.event.detail or ""))
        render.row(f"{at:<11}  {who}  {assistant}  {why}: {detail}".rstrip(": "))
    if not found:
        click.echo(spoken("no answer failed"), err=True)


def _failure(record: AnyRecord) -> tuple[str, ...]:
    from wxgptd.domain.model import events as e

    event = record.event
    assert isinstance(event, e.AnswerFailed)
    at = render.rfc3339(event.at)
    return _user_name(record), at, event.usage.assistant, str(event.reason), event.detail or ""


def _show_feedback(rows: dict[str, ratings.Feedback], by: str, output: str) -> None:
    ordered = sorted(rows.items(), key=lambda pair: pair[0] if by == "day" else -pair[1].answers)
    if output == "json":
        click.echo(render.dumps([{by: name, **asdict(row)} for name, row in ordered]))
    elif output == "csv":
        values = ((name, row.answers, row.up, row.down) for name, row in ordered)
        _write_csv([by, "answers", "up", "down"], values)
    elif ordered:
        click.echo(_line(shown(by), (spoken("answers"), spoken("up"), spoken("down"))))
        for name, row in ordered:
            click.echo(_line(name, (str(row.answers), str(row.up), str(row.down))))
            for words in row.words:
                click.echo(f"  {render.printable(words)}")
    else:
        click.echo(spoken("no answers"), err=True)


def _write_csv(head: list[str], rows: Iterable[tuple[str | float, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(
        [_escaped(cell) if isinstance(cell, str) else cell for cell in row] for row in rows
    )
    click.echo(text.getvalue(), nl=False)


def _user_name(record: AnyRecord) -> str:
    """Return the name of a user's row; erased users, whose names are lost, share one."""
    from wxgptd.ports.record import Hidden, Recorded

    erased = isinstance(record, Recorded) and record.hidden is Hidden.ERASED
    return f"{record.user.account}/{ERASED if erased else record.user.openid}"


def _escaped(name: str) -> str:
    """Escape a name so that no spreadsheet interprets it as a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def _plain(row: Row) -> dict[str, float]:
    return {name: getattr(row, name) for name in COLUMNS} | {"cost": round(row.cost, 6)}


def _sum(rows: Iterable[Row]) -> Row:
    all_rows = list(rows)
    return Row(*(sum(getattr(row, name) for row in all_rows) for name in COLUMNS))


def _cells(row: Row, by: str) -> tuple[str, ...]:
    mark = "~" if row.estimated_tokens else ""
    unanswered = (str(row.unanswered),) if by == "day" else ()
    return (
        str(row.answers),
        str(row.failures),
        f"{mark}{row.prompt_tokens}",
        f"{mark}{row.completion_tokens}",
        f"{mark}{row.cost:.4f}",
        *unanswered,
    )


def _line(name: str, cells: tuple[str, ...]) -> str:
    width = max(LEAST_NAME_COLUMNS, 79 - CELL_COLUMNS * len(cells))
    return f"{render.pad(render.printable(name), width)}" + "".join(
        render.pad_left(cell, CELL_COLUMNS) for cell in cells
    )
