"""A line in the daemon's own log for each event an operator cares about.

It contains no texts, tokens or OpenIDs: a user appears as a short keyed hash, which stays the same
for the lifetime of the state directory.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from twisted.logger import Logger

from wxgptd.domain.model import events as e
from wxgptd.domain.model import push_quota
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    User,
    is_follower,
)
from wxgptd.service.state.projections import Projection

log = Logger(namespace="wxgptd.events")


class EventLines(Projection):
    """Writes the lines, but only after `begin`: replaying a log writes none."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._begun = False

    def begin(self) -> None:
        """Start writing: events from now on are new."""
        self._begun = True

    def end(self) -> None:
        """Stop writing: another machine records from now on."""
        self._begun = False

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Write the line for `event`, if it has one."""
        if self._begun and is_follower(user) and (line := _line(event, state)):
            who = f"{user.account}/{self._short_hash(user)}"
            log.info("{who}: {line}", id=type(event).__name__, who=who, line=line)

    def on_applied(self, user: User, event: e.Event, state: UserState) -> None:
        """Write nothing: the machine that recorded it has the line."""

    def _short_hash(self, user: User) -> str:
        openid = user.openid.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, b"openid\0" + openid, sha256).hex()[:8]


def _line(event: e.Event, state: UserState) -> str:
    match event:
        case e.SessionOpened():
            return f"session {event.session} opened"
        case e.SessionClosed():
            return f"session {event.session} {event.reason}"
        case e.SessionResumed():
            return f"session {event.session} resumed"
        case e.AnswerCompleted():
            usage = event.usage
            approx = "~" if usage.estimated else ""
            tokens = f"{approx}{usage.prompt_tokens} + {usage.completion_tokens} tokens"
            cost = f", {approx}{usage.cost:.4f}" if usage.cost else ""
            return f"answered by {usage.assistant} in {event.took_s:.1f} s ({tokens}{cost})"
        case e.AnswerFailed():
            return f"answer failed: {event.reason}"
        case e.AnswerRestarted():
            return "question retried after a restart"
        case e.PushDelivered():
            count, limit = push_quota.used(state, event.at)
            return f"part of an answer pushed ({count} of {limit})"
        case e.UserErased():
            return "erased"
        case e.StandingChanged():
            return f"now {event.standing}"
        case _:
            return ""
