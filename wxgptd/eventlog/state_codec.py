"""Convert a user's state to bytes and back, for snapshots. Pure.

States are tuples all the way down and are packed as such; where a value has one of two types, its
third field distinguishes them. New fields are only ever appended, each with a default, which
applies when an older snapshot is read. Every other change to fields increments `STATE_VERSION`,
and snapshots of another version are not read.
"""

from __future__ import annotations

from typing import Any

import msgpack

from wxgptd.domain.model.page_writing import Share, Writers
from wxgptd.domain.model.past import Past
from wxgptd.domain.model.reply_window import Open, Settled, Window
from wxgptd.domain.model.session import (
    Answer,
    Completed,
    Failed,
    Forgotten,
    Pending,
    Question,
    Session,
)
from wxgptd.domain.model.state import Held, Push, UserState
from wxgptd.domain.model.values import (
    CloseReason,
    FailureReason,
    Finish,
    Rating,
    Reply,
    ReplyKind,
    Standing,
    Style,
)
from wxgptd.untyped import Packed

STATE_VERSION = 1

_PENDING = Pending()


def pack_state(state: UserState) -> bytes:
    """Return the bytes of `state`."""
    packed: bytes = msgpack.packb(state, default=_pack_other, unicode_errors="surrogatepass")
    return packed


def unpack_state(frozen: bytes) -> UserState:
    """Return the state that `pack_state` packed."""
    values = msgpack.unpackb(frozen, strict_map_key=False, unicode_errors="surrogatepass")
    return _state(UserState(*values))


def _pack_other(value: object) -> list[Session] | None:
    if isinstance(value, Past):
        return list(value)
    assert isinstance(value, Pending), value
    return None


def _state(raw: Any) -> UserState:  # noqa: ANN401 (a UserState whose values are still lists)
    state: UserState = raw._replace(
        live=_session(raw.live) if raw.live is not None else None,
        past=Past(map(_session, raw.past)),
        windows={key: _window(window) for key, window in raw.windows.items()},
        unanswered=tuple(raw.unanswered),
        unseen=tuple(raw.unseen),
        push=Push(_question(raw.push[0])) if raw.push is not None else None,
        standing=Standing(raw.standing),
        history_links=tuple(map(tuple, raw.history_links)),
        held=Held(*raw.held) if raw.held is not None else None,
        writing=_writing(raw.writing),
        shares=tuple(
            Share(delivery, tuple(questions), at) for delivery, questions, at in raw.shares
        ),
        forgotten=tuple(Forgotten(*values) for values in raw.forgotten),
    )
    return state


def _writing(values: Packed) -> Writers:
    raw = Writers(*values)
    return raw._replace(cookies=tuple(raw.cookies))


def _session(values: Packed) -> Session:
    raw: Any = Session(*values)  # Any: values are still lists
    session: Session = raw._replace(
        questions={key: _question(question) for key, question in raw.questions.items()},
        closed=CloseReason(raw.closed) if raw.closed is not None else None,
    )
    return session


def _question(values: Packed) -> Question:
    raw: Any = Question(*values)  # Any: likewise
    question: Question = raw._replace(
        answer=_answer(raw.answer),
        style=Style(raw.style) if raw.style is not None else None,
        rating=Rating(raw.rating),
    )
    return question


def _answer(values: Any) -> Answer:  # noqa: ANN401 (an array, or nil)
    if values is None:
        return _PENDING
    if isinstance(values[2], str):  # the model's name; in a failure, its time
        completed = Completed(*values)
        return completed._replace(finish=Finish(completed.finish))
    failed = Failed(*values)
    return failed._replace(reason=FailureReason(failed.reason))


def _window(values: Packed) -> Window:
    if isinstance(values[2], str):  # the question's name: no reply yet
        return Open(*values)
    settled = Settled(*values)
    reply = Reply(*settled.reply)
    return settled._replace(
        reply=reply._replace(kind=ReplyKind(reply.kind), style=Style(reply.style))
    )
