"""The log's sessions, as dialogues and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from wxgpt import control, matching, options, render
from wxgpt.language import shown, spoken
from wxgpt.log import records, rendering
from wxgptd.errors import WxgptError
from wxgptd.untyped import Json
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgptd.domain.model.session import Question, Session
    from wxgptd.domain.model.values import User


def all_sessions() -> list[tuple[User, Session]]:
    """Return every session in the log with its user."""
    states, _, _ = records.fold(options.open_log())
    return [(user, session) for user, state in states.items() for session in state.sessions()]


class UnknownSession(WxgptError):
    """unknown session"""


def unknown_session(given: str) -> UnknownSession:
    """Return the error for a session that the log does not have."""
    return UnknownSession(
        say("no session {session_id} in the log", session_id=given),
        hint=say("`wxgpt sessions list --all` lists them"),
    )


def session_of(given: str) -> tuple[User, Session]:
    """Return the session whose identifier begins like that, or a user's newest; "": the newest.

    Raises:
        UnknownSession: there is none.
        NotUnique: there are several, or there are several such users.
    """
    every = all_sessions()
    by_id = {str(session.id): (user, session) for user, session in reversed(every)}
    if given and (found := matching.only(given, by_id)) is not None:
        return by_id[found]
    whole = _user(given, every) if given else ""
    own = [pair for pair in every if whole in ("", rendering.names(pair[0])[-1])]
    if not own:
        raise unknown_session(given) if given else UnknownSession(say("no sessions in the log"))
    return max(own, key=lambda pair: pair[1].opened_at)


def sessions_of(given: str | None) -> list[tuple[User, Session]]:
    """Return every session, or those of the user whose OpenID or name begins like that.

    Raises:
        UnknownUser: there is no such user in the log.
        NotUnique: there are several.
    """
    every = all_sessions()
    if given is None:
        return every
    whole = _user(given, every)
    if whole is None:
        raise control.unknown_users([given])
    return [pair for pair in every if rendering.names(pair[0])[-1] == whole]


def _user(given: str, every: list[tuple[User, Session]]) -> str | None:
    """Return the user whose OpenID or name begins like that, as `ACCOUNT/OPENID`."""
    names = control.names()
    aliases = {rendering.names(user)[-1]: rendering.aliases(user, names) for user, _ in every}
    return matching.meant(given, aliases)


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
        fields["turns"] = [_turn(question) for question in session.questions.values()]
    return fields


def turn_as_json(user: User, session: Session, question: Question) -> Json:
    """Return one question of a session, with its answer, as JSON."""
    return {
        "session": session.id,
        "account": user.account,
        "user": user.openid,
        "assistant": session.assistant,
        **_turn(question),
    }


def _turn(question: Question) -> Json:
    return {
        "delivery": question.delivery,
        "asked_at": render.rfc3339(question.asked_at),
        "question": question.text,
        "image": question.image or None,
        "state": type(question.answer).__name__.lower(),
        "answer": question.answer.text,
        "offered": question.offered,
        "rating": question.rating or None,
    }


def lines(user: User, session: Session, name: str = "") -> Iterator[str]:
    """Yield the lines of a session, with its timings; `name` is the operator's for the user."""
    from wxgptd.domain.model.session import Completed, Failed

    ended = f", {shown(rendering.words(session.closed))}" if session.closed else ""
    who = f"{name} ({user.account}/{user.openid})" if name else f"{user.account}/{user.openid}"
    yield f"── {session.id} · {who} · {session.assistant}{ended}"
    for question in session.questions.values():
        yield spoken("{time}  user", time=render.clock_time(question.asked_at, utc=False))
        picture = spoken("[picture] ") if question.image else ""
        yield from _indented(f"{picture}{question.text}")
        answer = question.answer
        match answer:
            case Completed():
                yield f"  +{answer.took_s:.1f} s  {answer.model}"
            case Failed():
                yield spoken(
                    "  +{at:.1f} s  failed: {reason}",
                    at=answer.at - question.asked_at,
                    reason=shown(rendering.words(answer.reason)),
                )
            case _:
                yield spoken("  (no answer yet)")
        yield from _indented(answer.text)
        if question.rating:
            yield spoken("  rated {rating}", rating=shown(str(question.rating)))


def has_rating(session: Session, rating: str) -> bool:
    """Return whether an answer in `session` has that rating."""
    return any(question.rating == rating for question in session.questions.values())


def _indented(text: str) -> Iterator[str]:
    lines = render.multiline(text.encode("utf-8", "replace").decode())
    for line in lines.split("\n") if text else []:
        yield f"    {line}".rstrip()
