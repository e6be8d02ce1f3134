"""Events as lines and as JSON; times; text that fits a terminal."""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import AnswerUsage, User
from wxgptd.eventlog.codec import PERSONAL
from wxgptd.ports.record import AnyRecord, Hidden, Recorded, Unreadable


def names(user: User) -> tuple[str, ...]:
    """Return how a user may be called: also as lines show one, and without the account."""
    short = user.openid.removeprefix(f"{user.account}:")
    return user.openid, short, f"{user.account}/{short}"


def kind(record: AnyRecord) -> str:
    """Return the name of the event's kind."""
    return type(record.event).__name__


def as_json(record: AnyRecord) -> dict[str, Any]:
    """Return the event as the JSON that scripts rely on: names may be added, none go away."""
    event = record.event
    hidden = record.hidden if isinstance(record, Recorded) else Hidden.READABLE
    carried = _carried(event)
    for name in PERSONAL[kind(record)] if hidden else ():
        carried[name] = None
    for name in ("at", "sealed", "session"):
        carried.pop(name, None)
    delivery = carried.pop("delivery", None) or carried.get("question")
    return {
        "seq": record.seq,
        "at": rfc3339(event.at),
        "type": kind(record),
        "account": record.user.account,
        "user": record.user.openid,
        "session": record.session or None,
        "delivery": delivery or None,
        **carried,
        **({"hidden": str(hidden)} if hidden else {}),
    }


def _carried(event: e.Event | Unreadable) -> dict[str, Any]:
    """Return what an event carries, by names; what an answer took is not nested in JSON."""
    if isinstance(event, Unreadable):
        return event._asdict()
    carried: dict[str, Any] = {}
    for field in dataclasses.fields(event):
        match getattr(event, field.name):
            case AnswerUsage() as usage:
                carried |= {**usage._asdict(), "tokens": usage.tokens}
            case bytes() as value:
                carried[field.name] = value.hex()
            case value:
                carried[field.name] = value
    return carried


def texts(record: AnyRecord) -> str:
    """Return all texts that the event carries, for searching in."""
    if isinstance(record.event, Unreadable):
        return ""
    values = _carried(record.event).values()
    return "\n".join(value for value in values if isinstance(value, str))


_ACTED_ON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON may have in it as it is, and a terminal would act on: C1 controls, bidi controls."""


def dumps(said: object) -> str:
    """Return JSON on one line, Chinese left readable, what a terminal would act on escaped."""
    text = json.dumps(said, ensure_ascii=False)
    text = _ACTED_ON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode("utf-8", "backslashreplace").decode()


def rfc3339(at: float) -> str:
    """Return a time in UTC, to the millisecond."""
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


def clock_time(at: float, *, utc: bool) -> str:
    """Return a time for reading, in the operator's own zone or in UTC."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment if utc else moment.astimezone():%m-%d %H:%M:%S}"


def as_line(record: AnyRecord, *, utc: bool, width: int) -> str:
    """Return the event as a line for reading, at most `width` columns wide."""
    name = record.user.openid.removeprefix(f"{record.user.account}:")  # of a reference
    who = f"{record.user.account}/{shorten(name, 12)}"
    label, said = _label(record)
    if isinstance(record, Recorded) and record.hidden and PERSONAL[kind(record)]:
        said = f"[{record.hidden}] {said}".rstrip()
    head = (
        f"{record.seq:>7}  {clock_time(record.event.at, utc=utc)}  {pad(who, 18)}"
        f"  {pad(record.session, 10)}  "
    )
    line = shorten(f"{head}{pad(label, 9)}  {printable(said)}", width)
    colour = _COLOURS.get(label)
    if colour is None or not line.startswith(f"{head}{label}"):
        return line
    rest = line.removeprefix(f"{head}{label}")
    return f"{head}{click.style(label, fg=colour)}{rest}"


_COLOURS = {
    "asked": "cyan",
    "answered": "green",
    "failed": "red",
    "unpushed": "red",
    "torn": "red",
    "declined": "yellow",
    "silent": "yellow",
    "restarted": "yellow",
    "unknown": "yellow",
}
"""Of the labels that are looked for; `click.echo` takes them out where no colour is wanted."""


def _label(record: AnyRecord) -> tuple[str, str]:
    match record.event:
        case e.SessionOpened(assistant=assistant, ttl_s=ttl_s):
            return "opened", f"{assistant}, {ttl_s:g} s without a message end it"
        case e.SessionClosed(reason=reason):
            return "closed", str(reason)
        case e.SessionResumed():
            return "resumed", ""
        case e.MessageHeld():
            return "held", "after the session's expiry; not sent to a model unless its sender asks"
        case e.CommandGiven(command=command):
            return "command", command
        case e.QuestionAsked(text=text, image=image, retries=retries):
            again = "again: " if retries else ""
            return "asked", f"{again}[picture] {text}".rstrip() if image else f"{again}{text}"
        case e.ContinuationAsked(question=question):
            return "more", f"of {question}"
        case e.MessageDeclined(reason=reason, about=about):
            return "declined", f"{reason} {about}"
        case e.UserSubscribed(scene=scene):
            return "follows", scene
        case e.UserUnsubscribed():
            return "left", ""
        case e.AttemptRepeated(number=number, delivery=delivery):
            return "attempt", f"number {number} of {delivery}"
        case e.AnswerCompleted(text=text, took_s=took_s, usage=usage):
            by = usage.assistant and f", {usage.assistant}"
            return "answered", f"({took_s:.1f} s{by}) {text}"
        case e.AnswerFailed(reason=reason, detail=detail):
            return "failed", f"{reason}: {detail}"
        case e.AnswerRestarted(question=question):
            return "restarted", str(question)
        case e.ReplyOffered(kind=what, notice=notice, start=start, end=end):
            return "reply", notice or (f"{what} {start}..{end}" if end else str(what))
        case e.HistoryLinkIssued():
            return "link", "to the user's own history"
        case e.PageOpened(question=question):
            return "page", f"of {question} opened"
        case e.PushStarted(question=question, start=start, end=end):
            return "push", f"{start}..{end} of {question}"
        case e.PushDelivered(question=question):
            return "pushed", f"of {question}"
        case e.PushFailed(code=code, detail=detail):
            return "unpushed", f"{detail} ({code})" if code else detail
        case e.ContextTrimmed(turns=turns):
            return "trimmed", f"{turns} turns left out"
        case e.ModelChosen(model=model):
            return "model", model
        case e.StandingChanged(standing=standing, until=until):
            return "standing", f"{standing} until {rfc3339(until)}" if until else str(standing)
        case e.UserErased():
            return "erased", ""
        case e.TailTrimmed(segment=segment, offset=offset, size=size):
            return "torn", f"{size} bytes that a crash left at {offset} of {segment} were cut off"
        case e.TimeoutBudgetSet(size=size, timeouts=timeouts):
            why = f", after {timeouts} timeouts caused a suspension" if timeouts else ""
            return "timeouts", f"budget {size} per 5 min{why}"
        case e.MessagesUnanswered(count=count):
            return "silent", f"{count} {'message' if count == 1 else 'messages'} unanswered"
        case Unreadable(tag=tag, version=version):
            return "unknown", f"kind {tag} version {version}: a newer wxgptd wrote it"


def printable(text: str) -> str:
    """Return `text` on one line, without what a terminal would act on."""
    return "".join(char if char.isprintable() else " " for char in text)


def timeouts(accounts: Mapping[str, Any]) -> str:
    """Return the deliberate timeouts of each account, as `/status` has them, in words."""
    return ", ".join(
        f"{name} {one['left']} of {one['budget']} left{' (auto)' if one['auto'] else ''}"
        + (f", last suspended {rfc3339(one['suspended_at'])}" if one["suspended_at"] else "")
        + (", suspension suspected" if one["suspected"] else "")
        for name, one in accounts.items()
    )


def unanswered(accounts: Mapping[str, Any]) -> str:
    """Return how many messages of each account went unanswered, as `/status` has them, in words."""
    return ", ".join(
        f"{name} {one['today']} today, {one['yesterday']} yesterday"
        for name, one in accounts.items()
    )


_TAP = re.compile(r'<a href="weixin://bizmsgmenu[^"]*">([^<]*)</a>')


def with_taps_shown(reply: str) -> str:
    """Return `reply` as a phone shows it: taps are in [brackets], blue on a colour terminal."""
    return _TAP.sub(
        lambda found: click.style(f"[{found.group(1)}]", fg="blue", underline=True), reply
    )


def multiline(text: str) -> str:
    """Return `text` with its lines, without what a terminal would act on."""
    return "\n".join(printable(line) for line in text.split("\n"))


def columns(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """Return `text` cut to `width` columns, with an ellipsis where something is missing."""
    if columns(text) <= width:
        return text
    used, kept = 0, []
    for char in text:
        used += _columns(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def pad(text: str, width: int) -> str:
    """Return `text` in exactly `width` columns."""
    text = shorten(text, width)
    return text + " " * (width - columns(text))
