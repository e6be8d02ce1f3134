"""The log's sessions, as dialogues and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wxgpt import options, render
from wxgpt.language import shown, spoken
from wxgpt.log import records, rendering
from wxgptd.untyped import Json

if TYPE_CHECKING:
    from wxgptd.domain.model.session import Session
    from wxgptd.domain.model.values import User


def all_sessions() -> list[tuple[User, Session]]:
    """Return every session in the log with its user."""
    states, _, _ = records.fold(options.open_log())
    return [(user, session) for user, state in states.items() for session in state.sessions()]


def as_json(user: User, session: Session, *, turns: bool = False) -> Json:
    """Return a session as JSON."""
    fields: Json = {
        "session": session.id,
        "account": user.account,
        "user": user.openid,
        "assistant": session.assistant,
        "opened_at": render.rfc3339(session.opened_at),
        "last_at": render.rfc3339(session.last_at),
        "closed": session.closed,
        "questions": len(session.questions),
    }
    if turns:
        fields["turns"] = [
            {
                "delivery": question.delivery,
                "asked_at": render.rfc3339(question.asked_at),
                "question": question.text,
                "image": question.image or None,
                "state": type(question.answer).__name__.lower(),
                "answer": question.answer.text,
                "offered": question.offered,
                "rating": question.rating or None,
            }
            for question in session.questions.values()
        ]
    return fields


def show_dialogue(user: User, session: Session) -> None:
    """Print a session with its timings."""
    from wxgptd.domain.model.session import Completed, Failed

    ended = f", {shown(str(session.closed))}" if session.closed else ""
    click.echo(f"── {session.id} · {user.account}/{user.openid} · {session.assistant}{ended}")
    for question in session.questions.values():
        click.echo(spoken("{time}  user", time=render.clock_time(question.asked_at, utc=False)))
        picture = spoken("[picture] ") if question.image else ""
        _indented(f"{picture}{question.text}")
        answer = question.answer
        match answer:
            case Completed():
                click.echo(f"  +{answer.took_s:.1f} s  {answer.model}")
            case Failed():
                click.echo(
                    spoken(
                        "  +{at:.1f} s  failed: {reason}",
                        at=answer.at - question.asked_at,
                        reason=shown(rendering.words(answer.reason)),
                    )
                )
            case _:
                click.echo(spoken("  (no answer yet)"))
        _indented(answer.text)
        if question.rating:
            click.echo(spoken("  rated {rating}", rating=question.rating))


def has_rating(session: Session, rating: str) -> bool:
    """Return whether an answer in `session` has that rating."""
    return any(question.rating == rating for question in session.questions.values())


def _indented(text: str) -> None:
    lines = render.multiline(text.encode("utf-8", "replace").decode())
    for line in lines.split("\n") if text else []:
        click.echo(f"    {line}".rstrip())
