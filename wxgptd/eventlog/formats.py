"""Read logs of earlier formats as if they were in the current one.

Format 1 named users by account and OpenID and encrypted nothing; the next start rewrites such a
log. Format 2 did not record which session an event belongs to, and did not bind encrypted fields
to their event; such segments are not rewritten, and segments of the current format follow them.
"""

from __future__ import annotations

from collections.abc import Sequence

from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import NO_SESSION, AccountName, DeliveryKey, OpenId, SessionId, User
from wxgptd.eventlog import codec, framing
from wxgptd.ports.record import AnyRecord, Recorded, RecordedUnreadable, Unreadable
from wxgptd.untyped import Packed

LOOK_BACK_EVENTS = 50_000
"""How far back to look for the sessions of events that do not record theirs."""


def is_plain(entries: Sequence[Packed]) -> bool:
    """Return whether a frame's entries are in format 1, with the OpenID in the clear."""
    first = entries[0] if entries else ()
    return isinstance(first, tuple) and len(first) == 7 and isinstance(first[4], str)


def upgraded(version: int, entries: Packed) -> Sequence[codec.Entry]:
    """Convert encrypted entries of format `version` to the current one, with None as session."""
    if version == framing.FORMAT_VERSION:
        return entries
    return [
        (*entry[:5], _without_session(entry[5]), codec.UnboundSealed(entry[6])) for entry in entries
    ]


def _without_session(body: bytes) -> bytes:
    """Prepend nil to a packed array without unpacking it, since this runs millions of times."""
    if not 0x90 <= body[0] < 0x9F:  # a msgpack fixarray; no event ever had 15 fields
        raise ValueError("the content of an event is not an array")
    return b"%c\xc0%b" % (body[0] + 1, body[1:])


def decode_plain(seq: int, entry: Packed) -> AnyRecord:
    """Return the event in an entry of format 1."""
    tag, version, at, account, openid, previous, body = entry
    user = User(AccountName(account), OpenId(openid))
    if not codec.is_known(tag, version):
        return RecordedUnreadable(seq, user, NO_SESSION, previous, Unreadable(at, tag, version))
    return Recorded(seq, user, NO_SESSION, previous, codec.build(tag, version, at, body))


class Sessions:
    """Works out which session each event belongs to, from the events before it."""

    def __init__(self) -> None:
        self._live: dict[User, SessionId] = {}
        self._of_delivery: dict[tuple[User, DeliveryKey], SessionId] = {}

    def note(self, record: AnyRecord) -> SessionId:
        """Note `record` and return its session, or an empty string."""
        user, event = record.user, record.event
        match event:
            case e.SessionOpened() | e.SessionResumed():
                self._live[user] = event.session
                return event.session
            case e.SessionClosed():
                self._live.pop(user, None)
                return event.session
            case e.QuestionAsked() | e.ModelChosen():
                self._of_delivery[user, event.delivery] = event.session
                return event.session
            case e.ContinuationAsked():
                session = self._of_delivery.get((user, event.question), NO_SESSION)
                self._of_delivery[user, event.delivery] = session
                return session
            case e.UserErased():
                self._live.pop(user, None)
                return NO_SESSION
            case Unreadable():
                return NO_SESSION
            case _:
                return self._session_of_its_delivery(user, event)

    def _session_of_its_delivery(self, user: User, event: e.Event) -> SessionId:
        delivery = getattr(event, "delivery", None)
        if delivery is None:
            question = getattr(event, "question", None)
            return self._of_delivery.get((user, question), NO_SESSION) if question else NO_SESSION
        return self._of_delivery.setdefault((user, delivery), self._live.get(user, NO_SESSION))
