"""Format the outcome of a delivery, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wxgpt import render
from wxgpt.language import shown, spoken
from wxgptd.errors import WxgptError

if TYPE_CHECKING:
    from wxgpt.wechat.peer import Attempt, Delivery, Message


def show_attempt(attempt: Attempt) -> None:
    """Print one attempt."""
    detail = "" if attempt.result == "reply" else render.printable(shown(attempt.detail))
    line = spoken(
        "  attempt {number}  after {began_s:4.1f} s  took {took_s:4.1f} s  {result} {detail}",
        number=attempt.number,
        began_s=attempt.began_s,
        took_s=attempt.took_s,
        result=render.pad(shown(str(attempt.result)), 8),
        detail=detail,
    )
    click.echo(line.rstrip())


def show_delivery(delivery: Delivery, why: str | None = None) -> None:
    """Print what the sender finally sees; if nothing, print `why` (if given)."""
    if delivery.shown is None:
        click.echo(
            spoken(
                "the user sees nothing (the answer was `success`, {took_s:.1f} s)",
                took_s=delivery.took_s,
            )
        )
        if why is not None:
            click.echo(f"  {shown(why)}")
        return
    click.echo(
        spoken("the user sees WeChat's fault text after {took_s:.1f} s:", took_s=delivery.took_s)
        if delivery.fault
        else spoken("the user sees this after {took_s:.1f} s:", took_s=delivery.took_s)
    )
    reply = render.with_taps_shown(render.multiline(delivery.shown))
    for line in reply.split("\n"):
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
