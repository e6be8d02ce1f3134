"""A line in the daemon's own log for each event an operator cares about.

Neither text nor tokens nor OpenIDs get into it: a user is a short keyed hash, the same one as
long as the state directory lives.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from twisted.logger import Logger

from wxgptd.domain import events as e
from wxgptd.domain.state import UserState
from wxgptd.domain.values import User

log = Logger(namespace="wxgptd.events")


class EventLines:
    """Writes the lines, from `begin` on: replaying a log repeats none."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._begun = False

    def begin(self) -> None:
        """Start writing: what comes from now on is news."""
        self._begun = True

    def observe(self, user: User, event: e.Event, state: UserState) -> None:
        """Write the line for `event`, if it has one."""
        if not self._begun:
            return
        who = f"{user.account}/{self._short(user)}"
        match event:
            case e.SessionOpened():
                log.info("{who}: session {session} opened", who=who, session=event.session)
            case e.SessionClosed():
                log.info(
                    "{who}: session {session} {reason}",
                    who=who,
                    session=event.session,
                    reason=str(event.reason),
                )
            case e.AnswerCompleted():
                log.info(
                    "{who}: answered in {took:.1f} s ({tokens} tokens)",
                    who=who,
                    took=event.took_s,
                    tokens=event.prompt_tokens + event.completion_tokens,
                )
            case e.AnswerFailed():
                log.info("{who}: no answer: {reason}", who=who, reason=str(event.reason))
            case e.AnswerRestarted():
                log.info("{who}: a question is asked again after a restart", who=who)
            case _:
                pass

    def _short(self, user: User) -> str:
        openid = user.openid.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, b"openid\0" + openid, sha256).hex()[:8]
