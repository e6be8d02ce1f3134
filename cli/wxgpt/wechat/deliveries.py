"""Format the outcome of a delivery, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wxgpt import render
from wxgpt.wechat import silence
from wxgptd.errors import WxgptError

if TYPE_CHECKING:
    from wxgpt.wechat.peer import Attempt, Delivery, Message


def show_attempt(attempt: Attempt) -> None:
    """Print one attempt."""
    detail = "" if attempt.result == "reply" else render.printable(attempt.detail)
    click.echo(
        f"  attempt {attempt.number}  after {attempt.began_s:4.1f} s  "
        f"took {attempt.took_s:4.1f} s  {attempt.result:<8} {detail}".rstrip()
    )


def show_delivery(delivery: Delivery, why: str | None = None) -> None:
    """Print what the sender finally sees; if nothing, print `why` (if given)."""
    if delivery.shown is None:
        click.echo(f"the user sees nothing (the answer was `success`, {delivery.took_s:.1f} s)")
        if why is not None:
            click.echo(f"  {silence.REASONS.get(why, f'reason: {why}')}")
        return
    seen = "WeChat's fault text" if delivery.fault else "this"
    click.echo(f"the user sees {seen} after {delivery.took_s:.1f} s:")
    shown = render.with_taps_shown(render.multiline(delivery.shown))
    for line in shown.split("\n"):
        click.echo(f"  │ {line}".rstrip())


def as_json(message: Message, user: str, delivery: Delivery) -> dict[str, object]:
    """Return the delivery as JSON."""
    return {
        "user": user,
        "delivery": None if isinstance(message, str) else message.get("MsgId"),
        "attempts": [
            {
                "number": attempt.number,
                "began_s": round(attempt.began_s, 3),
                "took_s": round(attempt.took_s, 3),
                "result": str(attempt.result),
                "detail": attempt.detail if attempt.result != "reply" else "",
            }
            for attempt in delivery.attempts
        ],
        "took_s": round(delivery.took_s, 3),
        "reply": None if delivery.fault else delivery.shown,
        "fault": delivery.fault,
    }


class UnansweredMessage(WxgptError):
    """WeChat would have shown its fault text"""
