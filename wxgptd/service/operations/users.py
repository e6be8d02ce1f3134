"""List, name, block, allow and erase users for the operator. Implements `ports.control.Users`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nlargest
from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide import limits
from wxgptd.domain.intake.routing import NotAnswered
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    AccountName,
    CloseReason,
    Content,
    Ignorable,
    OpenId,
    Picture,
    Standing,
    Text,
    Unsupported,
    User,
    is_follower,
)
from wxgptd.ports.control import UserSummary
from wxgptd.service.conversation.conversations import Conversations
from wxgptd.service.state.erasing import Erasing
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Settings

MOST_SEARCHED = 10_000
"""An OpenID is looked up by its beginning among so many users, those last heard from."""


class _Criteria(NamedTuple):
    """Which users to list; what is empty does not matter."""

    standing: str
    beginning: str
    account: str

    def met_by(self, user: User, state: UserState, now: float) -> bool:
        """Return whether to list a user."""
        return (
            self.standing in ("", state.standing_at(now))
            and self.account in ("", user.account)
            and (user.openid.startswith(self.beginning) or state.name.startswith(self.beginning))
        )


class Users:
    """Lists users, and changes their standing or erases them."""

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        conversations: Conversations,
        erasing: Erasing,
        event_clock: EventClock,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._conversations = conversations
        self._erasing = erasing
        self._event_clock = event_clock

    def newest(
        self, limit: int, standing: str, beginning: str = "", account: str = ""
    ) -> Sequence[UserSummary]:
        """Return users, most recently heard from first."""
        now = self._event_clock.now()
        day_began_at, _ = self._event_clock.day()
        summaries = []
        criteria = _Criteria(standing, beginning, account)
        for user, state in self._last_heard(limit, criteria, now):
            today = limits.usage_since(state, day_began_at)
            summaries.append(
                UserSummary(
                    account=user.account,
                    user=user.openid,
                    standing=state.standing_at(now),
                    until=state.standing_until or None,
                    last_at=state.active_at or None,
                    questions_today=today.questions,
                    tokens_today=today.tokens,
                    name=state.name,
                )
            )
        return summaries

    def names(self) -> Mapping[str, str]:
        """Return the names of all users who have one."""
        users = filter(is_follower, self._journal.users.marked_users())
        named = ((user, self._journal.state(user).name) for user in users)
        return {f"{user.account}/{user.openid}": name for user, name in named if name}

    def _last_heard(
        self, limit: int, criteria: _Criteria, now: float
    ) -> list[tuple[User, UserState]]:
        """Return the users who meet the criteria, and their states, newest first."""
        users = self._journal.users
        # Only a user whose standing was once changed can have another than the default.
        is_rare = criteria.standing not in ("", Standing.DEFAULT)
        count = MOST_SEARCHED if criteria.beginning or criteria.account else limit
        candidates = users.marked_users() if is_rare else users.newest(count)
        if criteria.beginning and not is_rare:  # a user with a name is found however old
            candidates = iter(dict.fromkeys((*users.marked_users(), *candidates)))
        states = ((user, self._journal.state(user)) for user in candidates if is_follower(user))
        found = [(user, state) for user, state in states if criteria.met_by(user, state, now)]
        return nlargest(limit, found, key=lambda entry: entry[1].active_at)

    def knows(self, account: str, openid: str) -> bool:
        """Return whether anything is known about a user."""
        return bool(self._journal.state(User(AccountName(account), OpenId(openid))).version)

    def handler_for(
        self, account: str, openid: str, text: str, *, kind: str, tapped: bool
    ) -> str | None:
        """Return how a message from a user would be routed if it arrived now."""
        if account not in self._settings.accounts:
            return None
        content: Content
        match kind:
            case "text" | "location" | "link":
                content = Text(text, kind, tapped=tapped)
            case "voice" if text:
                content = Text(text, kind)
            case "image":
                content = Picture("")
            case "event":
                content = Ignorable("")
            case _:
                content = Unsupported(kind)
        route = self._conversations.handler_for(User(AccountName(account), OpenId(openid)), content)
        return route.why if isinstance(route, NotAnswered) else type(route).__name__.lower()

    def change_standing(
        self, account: str, openid: str, standing: str, for_s: float
    ) -> Deferred[bool]:
        """Block or allow a user."""
        if account not in self._settings.accounts:
            return succeed(False)
        now = self._event_clock.now()
        changed = e.StandingChanged(
            at=now, standing=Standing(standing), until=now + for_s if for_s else 0.0
        )
        self._journal.record(User(AccountName(account), OpenId(openid)), c.RecordFact(changed))
        return self._journal.committed().addCallback(lambda _: True)

    def give_name(self, account: str, openid: str, name: str) -> Deferred[bool]:
        """Give a user a name."""
        if not self.knows(account, openid):
            return succeed(False)
        user = User(AccountName(account), OpenId(openid))
        named = e.UserNamed(at=self._event_clock.now(), name=name)
        self._journal.record(user, c.RecordFact(named))
        return self._journal.committed().addCallback(lambda _: True)

    def forget(self, account: str, openid: str) -> Deferred[bool]:
        """Erase a user."""
        user = User(AccountName(account), OpenId(openid))
        return self._erasing.erase(user, CloseReason.OPERATOR)
