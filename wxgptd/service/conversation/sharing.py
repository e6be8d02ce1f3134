"""Sharing turns. Implements `wxgptd.ports.page_sharing.PageSharing`.

A link to shared turns is derived from a delivery key of its own, as any other link is. It shows
each turn for as long as that turn's own link would work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.pages import LINKS_ENDED
from wxgptd.domain.model import events as e
from wxgptd.domain.model.page_writing import MAX_SHARED_TURNS, MAX_SHARES, Share
from wxgptd.domain.model.session import Pending
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import SHARE_PREFIX, DeliveryKey, SessionId, User
from wxgptd.domain.replies import wording
from wxgptd.ports.page_access import Cookies, Form, Reason, Refused
from wxgptd.ports.page_sharing import Shared
from wxgptd.service.conversation.page_access import Page, PageAccess, delivery_of
from wxgptd.service.conversation.page_views import Tokens


class Sharing:
    """Makes, lists and withdraws links to chosen turns."""

    def __init__(self, access: PageAccess, tokens: Tokens) -> None:
        self._access = access
        self._journal = access.journal
        self._tokens = tokens

    def share(
        self, token: str, form: Form, turns: Sequence[str], key: str
    ) -> Deferred[Shared | Refused]:
        """Share turns, given the tokens of their answers."""
        page = self._access.writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        chosen = list(map(self._tokens.answer, turns or (token,)))
        user = page.target.user
        questions = [target.question for target in chosen if target and target.user == user]
        if len(questions) < len(chosen):
            return succeed(Refused(Reason.GONE, self._access.settings.page_texts.page_gone))
        return self._share(page, questions, key)

    def share_session(
        self, token: str, form: Form, session: str, key: str
    ) -> Deferred[Shared | Refused]:
        """Share the finished turns of a session, the newest ones if there are too many."""
        page = self._access.writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        found = page.state.session(SessionId(session))
        questions = found.questions.values() if found is not None else ()
        finished = [
            question.delivery for question in questions if not isinstance(question.answer, Pending)
        ]
        return self._share(page, finished[-MAX_SHARED_TURNS:], key)

    def _share(
        self, page: Page, questions: Iterable[DeliveryKey], key: str
    ) -> Deferred[Shared | Refused]:
        user, texts = page.target.user, self._access.settings.page_texts
        if refused := self._access.rejected():
            return succeed(refused)
        self._withdraw_dead(page)
        delivery, chosen = delivery_of(SHARE_PREFIX, key), tuple(dict.fromkeys(questions))
        fact = e.TurnsShared(at=self._access.event_clock.now(), delivery=delivery, questions=chosen)
        share = self._journal.record(user, c.RecordFact(fact)).state.share(delivery)
        if share is None:
            why = wording.page_share_failed(MAX_SHARES, texts)
        elif not share.questions:
            why = texts.page_withdrawn
        elif share.questions != chosen:
            why = texts.page_reload_first
        else:
            return self._access.durable(self._shared(user, share))
        return succeed(Refused(Reason.CONFLICT, why))

    def _withdraw_dead(self, page: Page) -> None:
        """Withdraw the links that show nothing any longer, if the user has as many as allowed."""
        shares = [share for share in page.state.shares if share.questions]
        if len(shares) < MAX_SHARES:
            return
        for share in shares:
            if not self._is_alive(page.state, share):
                self._withdraw(page.target.user, share)

    def withdraw(self, token: str, form: Form, shared: str) -> Deferred[Refused | None]:
        """Withdraw a link to shared turns."""
        page = self._access.writable(token, form)
        if isinstance(page, Refused):
            return succeed(page)
        user = page.target.user
        for share in page.state.shares:
            if self._token(user, share) == shared:
                self._withdraw(user, share)
        return self._access.durable(None)

    def _withdraw(self, user: User, share: Share) -> None:
        fact = e.ShareWithdrawn(at=self._access.event_clock.now(), delivery=share.delivery)
        self._journal.record(user, c.RecordFact(fact))

    def links(self, token: str, cookies: Cookies) -> Sequence[Shared]:
        """Return the links that were shared and still work, newest first."""
        page = self._access.open(token, cookies)
        if isinstance(page, Refused):
            return ()
        return [
            self._shared(page.target.user, share)
            for share in reversed(page.state.shares)
            if self._is_alive(page.state, share)
        ]

    def _is_alive(self, state: UserState, share: Share) -> bool:
        """Return whether a link still shows something."""
        since = self._access.event_clock.now() - self._access.settings.link_ttl_s
        entries = filter(None, map(state.find, share.questions))
        return any(
            session.closed not in LINKS_ENDED and question.asked_at >= since
            for session, question in entries
        )

    def turns(self, shared: str) -> Sequence[str]:
        """Return the tokens of the answers that a link shows."""
        user = self._tokens.user(shared)
        if user is None:
            return ()
        state = self._journal.state(user)
        for share in state.shares:
            if self._token(user, share) == shared:
                entries = filter(None, map(state.find, share.questions))
                tokens = [
                    self._access.links.token(user, question.delivery, (question.link,))
                    for _, question in entries
                ]
                return [token for token in tokens if self._tokens.answer(token) is not None]
        return ()

    def _shared(self, user: User, share: Share) -> Shared:
        return Shared(self._token(user, share), len(share.questions), share.at)

    def _token(self, user: User, share: Share) -> str:
        return self._access.links.token(user, share.delivery, ())
