"""Format events as lines of text and as JSON."""

from __future__ import annotations

import dataclasses

import click

from wxgpt import render
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import AnswerUsage, User
from wxgptd.eventlog.codec import PERSONAL
from wxgptd.ports.record import AnyRecord, Hidden, Recorded, Unreadable
from wxgptd.untyped import Json

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
"""The colours of notable labels; `click.echo` strips them if colour is off."""


def names(user: User) -> tuple[str, ...]:
    """Return a user's names: the OpenID, with and without its account, and `account/openid`."""
    short = user.openid.removeprefix(f"{user.account}:")
    return user.openid, short, f"{user.account}/{short}"


def kind(record: AnyRecord) -> str:
    """Return the name of the event's kind."""
    return type(record.event).__name__


def as_json(record: AnyRecord) -> Json:
    """Return the event as the JSON that scripts rely on: names may be added, never removed."""
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
        "at": render.rfc3339(event.at),
        "type": kind(record),
        "account": record.user.account,
        "user": record.user.openid,
        "session": record.session or None,
        "delivery": delivery or None,
        **carried,
        **({"hidden": str(hidden)} if hidden else {}),
    }


def _carried(event: e.Event | Unreadable) -> Json:
    """Return an event's fields by name; an answer's usage is flattened."""
    if isinstance(event, Unreadable):
        return event._asdict()
    carried: Json = {}
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
    """Return all text in the event, for searching."""
    event = record.event
    if isinstance(event, Unreadable):
        return ""
    values = [getattr(event, field.name) for field in dataclasses.fields(event)]
    values += [value.assistant for value in values if isinstance(value, AnswerUsage)]
    return "\n".join(value for value in values if isinstance(value, str))


def as_line(record: AnyRecord, *, utc: bool, width: int) -> str:
    """Return the event as a line of text, at most `width` columns wide."""
    name = record.user.openid.removeprefix(f"{record.user.account}:")  # as in references
    who = f"{record.user.account}/{render.shorten(name, 12)}"
    label, text = _label(record)
    if isinstance(record, Recorded) and record.hidden and PERSONAL[kind(record)]:
        text = f"[{record.hidden}] {text}".rstrip()
    head = (
        f"{record.seq:>7}  {render.clock_time(record.event.at, utc=utc)}  {render.pad(who, 18)}"
        f"  {render.pad(record.session, 10)}  "
    )
    line = render.shorten(f"{head}{render.pad(label, 9)}  {render.printable(text)}", width)
    colour = _COLOURS.get(label)
    if colour is None or not line.startswith(f"{head}{label}"):
        return line
    rest = line.removeprefix(f"{head}{label}")
    return f"{head}{click.style(label, fg=colour)}{rest}"


def _label(record: AnyRecord) -> tuple[str, str]:
    match record.event:
        case e.SessionOpened(assistant=assistant, ttl_s=ttl_s):
            return "opened", f"{assistant}, expires after {ttl_s:g} s of inactivity"
        case e.SessionClosed(reason=reason):
            return "closed", str(reason)
        case e.SessionResumed():
            return "resumed", ""
        case e.MessageHeld():
            return "held", "after the session expired; sent to a model only if its sender asks"
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
        case _ if isinstance(record.event, e.PageEvent):
            return _label_on_page(record.event)
        case e.PushStarted(question=question, start=start, end=end):
            return "push", f"{start}..{end} of {question}"
        case e.PushDelivered(question=question):
            return "pushed", f"of {question}"
        case e.PushFailed(code=code, detail=detail):
            return "unpushed", f"{detail} ({code})" if code else detail
        case e.ContextTrimmed(turns=turns):
            return "trimmed", f"{render.counted(turns, 'turn')} left out"
        case e.ModelChosen(model=model):
            return "model", model
        case e.SessionTitled(title=title):
            return "titled", title
        case e.SessionDeleted():
            return "deleted", "by the user, on a page"
        case e.StandingChanged(standing=standing, until=until):
            return "standing", str(standing) + (f" until {render.rfc3339(until)}" if until else "")
        case e.UserErased():
            return "erased", ""
        case e.TailTrimmed() | e.TimeoutBudgetSet() | e.MessagesUnanswered():
            return _label_of_account(record.event)
        case Unreadable(tag=tag, version=version):
            return "unknown", f"kind {tag} version {version}: written by a newer wxgptd"


def _label_on_page(event: e.PageEvent) -> tuple[str, str]:
    match event:
        case e.PageOpened(question=question):
            return "page", f"of {question} opened"
        case e.WriterAdmitted(question=question):
            return "writer", f"a browser may ask on the page of {question or 'the history'}"
        case e.ReaderSeen(question=question):
            return "reading", f"the page of {question}"
        case e.AnswerRated(question=question, rating=rating, words=words):
            return "rated", f"{question}: {rating or 'rating withdrawn'} {words}".rstrip()
        case e.TurnsShared(questions=questions):
            return "shared", render.counted(len(questions), "turn")
        case e.ShareWithdrawn():
            return "unshared", ""


def _label_of_account(fact: e.AccountFact) -> tuple[str, str]:
    match fact:
        case e.TailTrimmed(segment=segment, offset=offset, size=size):
            return "torn", _trimmed(segment, offset, size)
        case e.TimeoutBudgetSet(size=size, timeouts=timeouts):
            return "timeouts", f"budget {size} per 5 min{_suspended_by(timeouts)}"
        case e.MessagesUnanswered(count=count):
            return "silent", f"{render.counted(count, 'message')} unanswered"


def _trimmed(segment: str, offset: int, size: int) -> str:
    left = render.counted(size, "byte")
    return f"{left} left by a crash at offset {offset} of {segment}, trimmed"


def _suspended_by(timeouts: int) -> str:
    if not timeouts:
        return ""
    return f", after {render.counted(timeouts, 'timeout')} caused a suspension"
