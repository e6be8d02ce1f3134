"""Delivers answers that missed their window as customer-service messages, if WeChat allows it.

A part is recorded as started before it is sent, and as delivered only once WeChat has confirmed it.
If the daemon stops in between, the outcome is unknown: the part is not pushed again, but offered on
request.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model import push_quota
from wxgptd.domain.model.reply_window import OVER_AFTER_S
from wxgptd.domain.model.values import CloseReason, DeliveryKey, Standing, User
from wxgptd.domain.replies import wording
from wxgptd.errors import WxgptError
from wxgptd.ports.messengers import Delivered, Messenger
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Links, Settings

log = Logger()


class Pushing:
    """Pushes answers for accounts that have a messenger, one message at a time per user."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        links: Links,
        event_clock: EventClock,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._links = links
        self._event_clock = event_clock
        self._running: dict[User, Deferred[None]] = {}
        self._queued: dict[User, list[DeliveryKey]] = {}
        self._delayed: deque[tuple[float, User, DeliveryKey]] = deque()
        self._settle_observers: dict[User, list[Deferred[None]]] = {}

    def would(self, user: User) -> bool:
        """Return whether a late answer is expected to be pushed."""
        messenger = self._settings.account(user).messenger
        return messenger is not None and messenger.usable()

    def settled(self, user: User) -> Deferred[None] | None:
        """Return a Deferred that fires when the push to `user` settles, or None without a push."""
        if user not in self._running:
            return None

        def forget(cancelled: Deferred[None]) -> None:
            observers = self._settle_observers.get(user, [])
            if cancelled in observers:
                observers.remove(cancelled)
            cancelled.errback(CancelledError())

        observer: Deferred[None] = Deferred(forget)
        self._settle_observers.setdefault(user, []).append(observer)
        return observer

    def reconsider(self) -> None:
        """Reconsider answers whose window was open: WeChat has fetched them, or never will."""
        now = self._event_clock.now()
        while self._delayed and self._delayed[0][0] <= now:
            _, user, question = self._delayed.popleft()
            self._enqueue(user, question)

    def consider(self, user: User, question: DeliveryKey) -> None:
        """Push the answer to `question` if it missed its window and pushing is allowed."""
        if not self.would(user):
            return
        now = self._event_clock.now()
        if self._journal.state(user).is_awaited(question, now):
            self._delayed.append((now + OVER_AFTER_S + 1.0, user, question))
        else:
            self._enqueue(user, question)

    def _enqueue(self, user: User, question: DeliveryKey) -> None:
        messenger = self._settings.account(user).messenger
        if messenger is None or not messenger.usable():
            return
        self._queued.setdefault(user, []).append(question)
        if user not in self._running:
            run = Deferred.fromCoroutine(self._run(user, messenger))
            if not run.called:
                self._running[user] = run

    def end(self) -> None:
        """Stop pushing."""
        running, self._running = list(self._running.values()), {}
        self._queued.clear()
        self._delayed.clear()
        for run in running:
            run.cancel()

    async def _run(self, user: User, messenger: Messenger) -> None:
        try:
            while queued := self._queued.get(user):
                await self._push(user, queued.pop(0), messenger)
        except (CancelledError, WxgptError):
            pass  # the service is stopping, or the log can no longer be written
        except Exception:  # noqa: BLE001 (the answer is still offered in the chat)
            log.failure("pushing failed unexpectedly", id="unexpected")
        finally:
            self._queued.pop(user, None)
            self._running.pop(user, None)

    async def _push(self, user: User, name: DeliveryKey, messenger: Messenger) -> None:
        """Push one answer part by part, as far as WeChat allows."""
        while messenger.usable():
            started = self._start(user, name)
            if started is None:
                return
            await self._journal.committed()
            state = self._journal.state(user)
            if state.find(name) is None:
                return  # erased in the meantime
            last = not push_quota.allows(state, self._event_clock.now())
            question = state.question(name)
            token = self._links.token(user, name, (question.link,))
            link = self._links.answer_in_chat(token, started.at)
            text = wording.pushed(started, question, link, self._settings.texts, last=last)
            outcome = await messenger.send(
                user.openid,
                text,
                lambda: self._is_wanted(user, name),
                generated=started.start < started.end,
            )
            delivered = isinstance(outcome, Delivered)
            self._journal.record(
                user,
                c.SettlePush(
                    at=self._event_clock.now(),
                    question=name,
                    delivered=delivered,
                    code=0 if isinstance(outcome, Delivered) else outcome.code,
                    detail="" if isinstance(outcome, Delivered) else outcome.detail,
                ),
            )
            for observer in self._settle_observers.pop(user, []):
                observer.callback(None)
            if not delivered or not started.rest:
                return

    def _is_wanted(self, user: User, name: DeliveryKey) -> bool:
        """Return whether a push is still wanted: not after `/clear`, unsubscribing or a block."""
        state = self._journal.state(user)
        lookup = state.find(name)
        return (
            lookup is not None
            and lookup[0].closed not in (CloseReason.CLEARED, CloseReason.UNSUBSCRIBED)
            and state.standing_at(self._event_clock.now()) is not Standing.BLOCKED
        )

    def begin(self) -> None:
        """Push answers that were completed just before the daemon stopped and never pushed."""
        for user, state in self._journal.loaded():
            for name in state.unseen:
                if state.question(name).pushed is None and state.push is None:
                    self.consider(user, name)

    def _start(self, user: User, name: DeliveryKey) -> e.PushStarted | None:
        link = self._links.answer_in_chat(self._links.token(user, name, ()), 0.0)
        entry = self._journal.record(
            user,
            c.StartPush(
                at=self._event_clock.now(),
                question=name,
                room=wording.room(self._settings.texts, link),
                policy=self._settings.account(user).policy,
            ),
        )
        return next((event for event in entry.events if isinstance(event, e.PushStarted)), None)
