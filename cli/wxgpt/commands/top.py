"""`wxgpt top`: the daemon's activity, updated every second."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING

import click

from wxgpt import control, options, render
from wxgpt.daemon_words import heard
from wxgpt.failures import Unreachable, UsageFailure
from wxgpt.language import shown, spoken
from wxgptd.untyped import Json
from wxgptd.wording import say

if TYPE_CHECKING:
    from rich.console import RenderableType

SHORT_USER = 16
PROGRESS = {
    "waiting": say("queued"),
    "thinking": say("no text yet"),
    "writing": say("being written"),
}


@click.command("top")
@click.option("-n", "--times", type=click.IntRange(min=1), metavar="N",
              help="Exit after N updates.")  # fmt: skip
@click.option(
    "--every", type=click.FloatRange(min=0.2, max=3_600), default=1.0, show_default=True,
    metavar="SECONDS", help="How long to wait between updates.",
)  # fmt: skip
@options.output_option("text", "ndjson")
def command(times: int | None, every: float, output: str) -> None:
    """Watch the running daemon: held attempts, answers being written, the state of the models.

    q quits. Without a terminal it prints one update and exits.

    \b
    Examples:
      wxgpt top
      wxgpt top --every 5
      wxgpt top -n 1
      wxgpt top -n 60 -o ndjson
    """
    if not isfinite(every):
        raise UsageFailure(say("--every must be a number of seconds"), hint=say("--every 5"))
    live = sys.stdout.isatty() and output == "text"
    looks = times if times is not None else (0 if live or output == "ndjson" else 1)
    if live:
        _watch(looks, every)
        return
    number = 0
    while True:
        number += 1
        status = _fetch()
        if output == "ndjson":
            click.echo(render.dumps(status))
        else:
            _print(status)
        if number == looks:
            return
        time.sleep(every)


def _fetch() -> Json:
    _, status = control.request("GET", "/status")
    code, questions = control.request("GET", "/questions")
    at = render.rfc3339(time.time())
    return {"at": at, **status, "questions": questions if code == 200 else []}


def _watch(looks: int, every: float) -> None:
    """Update the display `looks` times, or until q or ^C; retry while the daemon restarts."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    view: RenderableType = _table(_fetch())
    number = 1
    with _reading_keys(), Live(view, console=Console(), screen=True, auto_refresh=False) as live:
        live.refresh()
        while number != looks:
            number += 1
            if _quits(every):
                return
            try:
                view = _table(_fetch())
            except Unreachable as error:
                view = Text(spoken("{error}; retrying, q to quit", error=error))
            live.update(view, refresh=True)


@contextmanager
def _reading_keys() -> Iterator[None]:
    """Let single keys be read from the terminal inside the block, without showing them."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quits(wait_s: float) -> bool:
    """Wait, and return whether q was pressed."""
    until = time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0:
        if not sys.stdin.isatty():
            time.sleep(left)
        elif select.select([sys.stdin], [], [], left)[0]:
            typed = os.read(sys.stdin.fileno(), 64)
            if not typed or b"q" in typed.lower():
                return True
    return False


def _print(status: Json) -> None:
    from rich.console import Console

    Console(width=120 if not sys.stdout.isatty() else None, highlight=False).print(_table(status))


def _table(status: Json) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lines = [Text(line) for line in _head(status)]
    if not status["questions"]:
        return Group(*lines, Text(spoken("no question is waiting for an answer")))
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = (
        say("user"), say("session"), say("assistant"), say("asked"), say("attempt"), say("answer"),
    )  # fmt: skip
    for name in names:
        table.add_column(shown(name), justify="right" if name in ("asked", "attempt") else "left")
    for question in status["questions"]:
        user = render.shorten(question["user"].removeprefix(f"{question['account']}:"), SHORT_USER)
        progress = PROGRESS.get(question["progress"], question["progress"])
        chars = question["written_chars"]
        written = f", {shown(render.counted(chars, 'character'))}" if chars else ""
        table.add_row(
            render.printable(f"{question['account']}/{user}"), question["session"],
            question["assistant"], spoken("{waited_s:.0f} s ago", waited_s=question["waited_s"]),
            str(question["attempts"]), f"{shown(progress)}{written}",
        )  # fmt: skip
    return Group(*lines, table)


def _head(status: Json) -> list[str]:
    state = say("ready") if status["ready"] else say("replaying its log")
    health = (
        ""
        if status["healthy"]
        else spoken(", UNHEALTHY: {why}", why=heard(status["why_unhealthy"]))
    )
    up = _span(status["uptime_s"])
    return [
        spoken(
            "wxgptd {version}, pid {pid}, up {up}, {state}{health}",
            version=status["version"],
            pid=status["pid"],
            up=up,
            state=state,
            health=health,
        ),
        (
            spoken(
                "{open_sessions} · {held_attempts} held · {running_answers} running, "
                "{waiting_questions} queued · {page_readers}",
                open_sessions=render.counted(status["open_sessions"], "session"),
                held_attempts=render.counted(status["held_attempts"], "attempt"),
                running_answers=render.counted(status["running_answers"], "answer"),
                waiting_questions=status["waiting_questions"],
                page_readers=render.counted(status["page_readers"], "page reader"),
            )
        ),
        spoken("models: {models}", models=_pairs(status["models"], heard)),
        spoken(
            "last failures: {failures}",
            failures=_pairs(status["model_failures"], heard) or say("none"),
        ),
        spoken(
            "deliberate timeouts: {timeouts}",
            timeouts=render.timeouts(status["deliberate_timeouts"]),
        ),
        spoken("unanswered messages: {counts}", counts=render.unanswered(status["unanswered"])),
        spoken(
            "spent today: {costs}",
            costs=_pairs(render.spent(status["cost_today"])) or say("nothing"),
        ),
        spoken(
            "log: event {seq}, {fsync}{full}",
            seq=status["log_last_seq"],
            fsync=render.fsync(status["log_fsync_s"]),
            full=say(", DISK FULL") if status["disk_full"] else "",
        ),
        "",
    ]


def _pairs(values: Json, show: Callable[[object], object] = lambda value: value) -> str:
    return ", ".join(f"{name} {show(value)}" for name, value in values.items())


def _span(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3_600)
    days, hours = divmod(hours, 24)
    return (
        spoken("{days} d {hours} h", days=days, hours=hours)
        if days
        else f"{hours}:{rest // 60:02}:{rest % 60:02}"
    )
