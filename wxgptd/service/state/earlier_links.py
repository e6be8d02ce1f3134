"""Links whose tokens do not lead to their user, because an earlier version issued them.

They are found in an index until they expire. Once the last of them has, the index stays empty.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Mapping

from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import DeliveryKey, LinkHash, User
from wxgptd.service.state.projections import Projection


class EarlierLinks(Projection):
    """The users of links issued before `until` that may be valid, by the hash of their token.

    If `until` is 0, there are none, and startup reads none.
    """

    def __init__(self, ttl_s: float, until: float) -> None:
        self.ttl_s = ttl_s
        self._until = until
        self._users: OrderedDict[LinkHash, tuple[User, float]] = OrderedDict()
        self._of_user: defaultdict[User, list[LinkHash]] = defaultdict(list)

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The events that issued links, until the links expire."""
        kinds = (e.QuestionAsked, e.HistoryLinkIssued) if self._until else ()
        return dict.fromkeys(kinds, self.ttl_s)

    def replay(self, user: User, event: e.Event) -> None:
        """Add a link."""
        assert isinstance(event, e.QuestionAsked | e.HistoryLinkIssued)
        self._add(user, event.link, event.at)

    def on_link(self, user: User, link: LinkHash, question: DeliveryKey, issued_at: float) -> None:
        """Add a link."""
        self._add(user, link, issued_at)

    def _add(self, user: User, link: LinkHash, issued_at: float) -> None:
        if link and issued_at < self._until:  # an erased user's links are empty
            self._users[link] = user, issued_at
            self._of_user[user].append(link)

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Drop the links of an erased user."""
        if isinstance(event, e.UserErased):
            for link in self._of_user.pop(user, ()):
                self._users.pop(link, None)

    def find(self, link: LinkHash) -> User | None:
        """Return the user of `link`, or None if the link is unknown."""
        return self._users.get(link, (None, 0.0))[0]

    def forget_expired(self, now: float) -> None:
        """Drop the links that have expired."""
        while self._users:
            link, (user, issued_at) = next(iter(self._users.items()))
            if now - issued_at <= self.ttl_s:
                return
            del self._users[link]
            self._of_user[user].remove(link)
            if not self._of_user[user]:
                del self._of_user[user]
