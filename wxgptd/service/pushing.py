"""Deliver what came too late for its window as customer-service messages, where WeChat allows it.

A part is on record as started before it leaves, and as delivered only when WeChat has said so.
Where the daemon stopped in between nobody knows: it is not pushed again, but offered on request.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wxgptd.domain import commands as c
from wxgptd.domain import events as e
from wxgptd.domain import texts
from wxgptd.domain.offering import PUSHES_PER_MESSAGE
from wxgptd.domain.values import AccountName, DeliveryKey, User
from wxgptd.errors import WxgptError
from wxgptd.ports import Delivered, Messenger
from wxgptd.service.journal import Journal
from wxgptd.service.settings import Links, Settings
from wxgptd.service.timeline import Timeline

log = Logger()


class Pushing:
    """Pushes for the accounts that have a messenger; one message at a time to each user."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        links: Links,
        messengers: Mapping[AccountName, Messenger],
        timeline: Timeline,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._links = links
        self._messengers = messengers
        self._timeline = timeline
        self._running: dict[User, Deferred[None]] = {}
        self._next: dict[User, list[DeliveryKey]] = {}

    def consider(self, user: User, question: DeliveryKey) -> None:
        """Push the answer to `question` if it came too late, and if that may be done."""
        messenger = self._messengers.get(user.account)
        if messenger is None or not messenger.usable():
            return
        self._next.setdefault(user, []).append(question)
        if user not in self._running:
            run = Deferred.fromCoroutine(self._run(user, messenger))
            if not run.called:
                self._running[user] = run

    def end(self) -> None:
        """Send nothing more."""
        running, self._running = list(self._running.values()), {}
        self._next.clear()
        for run in running:
            run.cancel()

    async def _run(self, user: User, messenger: Messenger) -> None:
        try:
            while waiting := self._next.get(user):
                await self._push(user, waiting.pop(0), messenger)
        except (CancelledError, WxgptError):
            pass  # the service ends, or the log cannot be written any more
        except Exception:  # noqa: BLE001 (an answer is offered in the chat all the same)
            log.failure("pushing failed unexpectedly")
        finally:
            self._next.pop(user, None)
            self._running.pop(user, None)

    async def _push(self, user: User, name: DeliveryKey, messenger: Messenger) -> None:
        """Push part after part of one answer, as far as WeChat allows."""
        while messenger.usable():
            started = self._start(user, name)
            if started is None:
                return
            await self._journal.committed()
            state = self._journal.state(user)
            last = state.pushes >= PUSHES_PER_MESSAGE
            question = state.question(name)
            link = self._links.answer(self._links.token(user, name))
            text = texts.pushed(started, question, link, self._settings.texts, last=last)
            outcome = await messenger.send(user.openid, text)
            delivered = isinstance(outcome, Delivered)
            self._journal.record(
                user,
                c.SettlePush(
                    at=self._timeline.now(),
                    question=name,
                    delivered=delivered,
                    code=0 if isinstance(outcome, Delivered) else outcome.code,
                    detail="" if isinstance(outcome, Delivered) else outcome.detail,
                ),
            )
            if not delivered or not started.rest:
                return

    def _start(self, user: User, name: DeliveryKey) -> e.PushStarted | None:
        link = self._links.answer(self._links.token(user, name))
        entry = self._journal.record(
            user,
            c.StartPush(
                at=self._timeline.now(),
                question=name,
                room=texts.room(self._settings.texts, link),
                policy=self._settings.account(user).policy,
            ),
        )
        return next((one for one in entry.events if isinstance(one, e.PushStarted)), None)
