"""`wxgpt status`: the daemon's status."""

from __future__ import annotations

from collections.abc import Callable

import click

from wxgpt import control, options, render
from wxgpt.daemon_words import heard
from wxgpt.language import shown, spoken
from wxgptd.untyped import JsonView, Result

PARTS = ("cluster_", "log_shipped_")
"""What is shown only if it is in use."""


@click.command("status")
@options.output_option("text", "json")
def command(output: str) -> None:
    """Show the running daemon's status.

    \b
    Examples:
      wxgpt status
      wxgpt status --json
    """
    _, status = control.request("GET", "/status")
    if output == "json":
        click.echo(render.dumps(status))
        return
    for name, value in status.items():
        if value is None and name.startswith(PARTS):
            continue
        text = _FORMATS.get(name, _shown)(value)
        click.echo(f"{render.pad(shown(label(name)), 26)}{text}")


def label(field: str) -> str:
    """Return the name of a field of the status as words."""
    return field.removesuffix("_s").replace("_", " ")


def _shown(value: object) -> object:
    match value:
        case None:
            return spoken("unknown")
        case bool():
            return spoken("yes") if value else spoken("no")
        case dict():
            return ", ".join(f"{name} {_shown(item)}" for name, item in value.items()) or spoken(
                "none"
            )
        case _:
            return value


def _heard(said: JsonView) -> dict[str, str]:
    return {name: heard(text) for name, text in said.items()}


_FORMATS: dict[str, Callable[[Result], object]] = {
    "deliberate_timeouts": render.timeouts,
    "unanswered": render.unanswered,
    "log_fsync_s": render.fsync,
    "cost_today": lambda costs: _shown(render.spent(costs)),
    "uptime_s": lambda seconds: f"{seconds:.1f} s",
    "replay_s": lambda seconds: f"{seconds:.1f} s",
    "clock_offset_s": lambda seconds: spoken("unknown") if seconds is None else f"{seconds:.2f} s",
    "why_unhealthy": lambda why: heard(why) or "-",
    "models": lambda models: _shown(_heard(models)),
    "model_failures": lambda failures: _shown(_heard(failures)),
    "push": lambda accounts: _shown(_heard(accounts)),
}
