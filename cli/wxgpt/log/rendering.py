"""Format events as lines of text and as JSON."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import click

from wxgpt import render
from wxgpt.daemon_words import heard
from wxgpt.language import shown, spoken
from wxgpt.log.replies import Replies
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import AnswerUsage, User
from wxgptd.eventlog.codec import PERSONAL
from wxgptd.ports.record import AnyRecord, Hidden, Recorded, Unreadable
from wxgptd.untyped import Json
from wxgptd.wording import say

LABELS = {
    "SessionOpened": "opened",
    "SessionClosed": "closed",
    "SessionResumed": "resumed",
    "MessageHeld": "held",
    "CommandGiven": "command",
    "QuestionAsked": "asked",
    "ContinuationAsked": "more",
    "MessageDeclined": "declined",
    "UserSubscribed": "follows",
    "UserUnsubscribed": "left",
    "AttemptRepeated": "attempt",
    "AnswerCompleted": "answered",
    "AnswerFailed": "failed",
    "AnswerRestarted": "restarted",
    "ReplyOffered": "reply",
    "HistoryLinkIssued": "link",
    "PushStarted": "push",
    "PushDelivered": "pushed",
    "PushFailed": "unpushed",
    "ContextTrimmed": "trimmed",
    "ModelChosen": "model",
    "SessionTitled": "titled",
    "SessionDeleted": "deleted",
    "StandingChanged": "standing",
    "UserNamed": "named",
    "UserErased": "erased",
    "PageOpened": "page",
    "WriterAdmitted": "writer",
    "ReaderSeen": "reading",
    "AnswerRated": "rated",
    "TurnsShared": "shared",
    "ShareWithdrawn": "unshared",
    "TailTrimmed": "torn",
    "TimeoutBudgetSet": "timeouts",
    "MessagesUnanswered": "silent",
}
"""The short names of the kinds of events, as shown and as accepted by `--kind`."""

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


def aliases(user: User, given: Mapping[str, str]) -> tuple[str, ...]:
    """Return a user's names, and the one that the operator has given, by `ACCOUNT/OPENID`."""
    named = given.get(f"{user.account}/{user.openid}")
    return (*names(user), *([named] if named else []))


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


class Look(NamedTuple):
    """How lines look: at most `width` columns wide; `wide` also shows numbers and sessions.

    `names` are those that the operator gave users, by `ACCOUNT/OPENID`; `replies` has the texts of
    replies.
    """

    utc: bool
    width: int
    wide: bool
    names: Mapping[str, str]
    replies: Replies


def as_line(record: AnyRecord, look: Look) -> str:
    """Return the event as a line of text."""
    text = _about(record, look)
    name_of_kind = LABELS.get(kind(record), "unknown")
    label = shown(name_of_kind)
    if isinstance(record, Recorded) and record.hidden and PERSONAL[kind(record)]:
        text = f"[{shown(record.hidden)}] {text}".rstrip()
    at, user = record.event.at, record.user
    if look.wide:
        account = f"{user.account}/{who(user, look.names)}"
        head = (
            f"{record.seq:>7}  {render.clock_time(at, utc=look.utc)}  {render.pad(account, 18)}"
            f"  {render.pad(record.session, 10)}  "
        )
    else:
        head = f"{when(at, utc=look.utc):<11}  {render.pad(who(user, look.names), 10)}  "
    line = render.shorten(f"{head}{render.pad(label, 9)}  {render.printable(text)}", look.width)
    colour = _COLOURS.get(name_of_kind)
    if colour is None or not line.startswith(f"{head}{label}"):
        return line
    rest = line.removeprefix(f"{head}{label}")
    return f"{head}{click.style(label, fg=colour)}{rest}"


def when(at: float, *, utc: bool, now: float | None = None) -> str:
    """Return a time: only the time of day if it is on the same day as `now`."""
    zone = UTC if utc else None
    days = [datetime.fromtimestamp(moment, zone).date() for moment in (at, now or time.time())]
    whole = render.clock_time(at, utc=utc)
    return whole[6:] if days[0] == days[1] else whole[:11]


def who(user: User, names: Mapping[str, str]) -> str:
    """Return what to call a user: the operator's name, or the OpenID's beginning."""
    openid = user.openid.removeprefix(f"{user.account}:")  # as in references
    return names.get(f"{user.account}/{user.openid}") or render.shorten(openid, 10)


def words(member: str) -> str:
    """Return the value of an enumeration as words."""
    return str(member).replace("_", " ")


def _about(record: AnyRecord, look: Look) -> str:
    match record.event:
        case e.MessageHeld():
            return spoken("after the session expired; sent to a model only if its sender asks")
        case e.CommandGiven(command=command):
            return command
        case e.QuestionAsked(text=text, image=image, retries=retries):
            again = spoken("again: ") if retries else ""
            picture = spoken("[picture] ") if image else ""
            return f"{again}{picture}{text}".rstrip()
        case e.ContinuationAsked(question=question):
            return spoken("of {question}", question=question)
        case e.MessageDeclined():
            return declined(record.event)
        case e.UserSubscribed(scene=scene):
            return scene
        case e.UserUnsubscribed():
            return ""
        case e.AttemptRepeated(number=number, delivery=delivery):
            if look.wide:
                return spoken("number {number} of {delivery}", number=number, delivery=delivery)
            return spoken("number {number}", number=number)
        case e.AnswerCompleted(text=text, took_s=took_s, usage=usage):
            by = usage.assistant and f", {usage.assistant}"
            return f"({took_s:.1f} s{by}) {text}"
        case e.AnswerFailed(reason=reason, detail=detail):
            return f"{shown(words(reason))}: {heard(detail)}"
        case e.AnswerRestarted(question=question):
            return str(question)
        case e.ReplyOffered() as reply:
            return look.replies.text_of(reply, record.user.account)
        case e.HistoryLinkIssued():
            return spoken("to the user's own history")
        case _ if isinstance(record.event, SESSION_EVENTS):
            return _about_session(record.event)
        case e.PushStarted() | e.PushDelivered() | e.PushFailed():
            return _about_push(record.event)
        case _ if isinstance(record.event, e.PageEvent):
            return _about_page(record.event)
        case e.ContextTrimmed(turns=turns):
            return spoken("{turns} left out", turns=render.counted(turns, "turn"))
        case e.ModelChosen(model=model):
            return model
        case e.StandingChanged(standing=standing, until=until):
            return shown(str(standing)) + (
                spoken(" until {time}", time=render.clock_time(until, utc=False)) if until else ""
            )
        case e.UserNamed(name=name):
            return name
        case e.UserErased():
            return ""
        case e.TailTrimmed() | e.TimeoutBudgetSet() | e.MessagesUnanswered():
            return _about_account(record.event)
        case Unreadable(tag=tag, version=version):
            return spoken(
                "kind {tag} version {version}: written by a newer wxgptd", tag=tag, version=version
            )


def declined(event: e.MessageDeclined) -> str:
    """Return why a message was declined; a number is the seconds until it would not be."""
    about = event.about
    if about.isascii() and about.isdigit():
        about = spoken("(again in {time})", time=render.about(int(about)))
    return f"{shown(words(event.reason))} {about}".rstrip()


SESSION_EVENTS = (
    e.SessionOpened | e.SessionClosed | e.SessionResumed | e.SessionTitled | e.SessionDeleted
)


def _about_session(
    event: e.SessionOpened
    | e.SessionClosed
    | e.SessionResumed
    | e.SessionTitled
    | e.SessionDeleted,
) -> str:
    match event:
        case e.SessionOpened(assistant=assistant, ttl_s=ttl_s):
            return spoken(
                "{assistant}, expires after {ttl} of inactivity",
                assistant=assistant,
                ttl=render.duration_in_words(ttl_s),
            )
        case e.SessionClosed(reason=reason):
            return shown(words(reason))
        case e.SessionResumed():
            return ""
        case e.SessionTitled(title=title):
            return title
        case e.SessionDeleted():
            return spoken("by the user, on a page")


def _about_push(event: e.PushStarted | e.PushDelivered | e.PushFailed) -> str:
    match event:
        case e.PushStarted(question=question, start=start, end=end):
            return spoken("{start}..{end} of {question}", start=start, end=end, question=question)
        case e.PushDelivered(question=question):
            return spoken("of {question}", question=question)
        case e.PushFailed(code=code, detail=detail):
            return f"{heard(detail)} ({code})" if code else heard(detail)


def _about_page(event: e.PageEvent) -> str:
    match event:
        case e.PageOpened(question=question):
            return spoken("of {question} opened", question=question)
        case e.WriterAdmitted(question=question):
            return spoken(
                "a browser may ask on the page of {question}",
                question=question or say("the history"),
            )
        case e.ReaderSeen(question=question):
            return spoken("the page of {question}", question=question)
        case e.AnswerRated(question=question, rating=rating, words=words):
            return (
                f"{question}: {shown(str(rating)) or spoken('rating withdrawn')} {words}".rstrip()
            )
        case e.TurnsShared(questions=questions):
            return shown(render.counted(len(questions), "turn"))
        case e.ShareWithdrawn():
            return ""


def _about_account(fact: e.AccountFact) -> str:
    match fact:
        case e.TailTrimmed(segment=segment, offset=offset, size=size):
            return _trimmed(segment, offset, size)
        case e.TimeoutBudgetSet(size=size, timeouts=timeouts):
            return spoken(
                "budget {size} per 5 min{suspended_by}",
                size=size,
                suspended_by=_suspended_by(timeouts),
            )
        case e.MessagesUnanswered(count=count):
            return spoken("{count} unanswered", count=render.counted(count, "message"))


def _trimmed(segment: str, offset: int, size: int) -> str:
    left = render.counted(size, "byte")
    return spoken(
        "{left} left by a crash at offset {offset} of {segment}, trimmed",
        left=left,
        offset=offset,
        segment=segment,
    )


def _suspended_by(timeouts: int) -> str:
    if not timeouts:
        return ""
    return spoken(
        ", after {timeouts} caused a suspension", timeouts=render.counted(timeouts, "timeout")
    )
