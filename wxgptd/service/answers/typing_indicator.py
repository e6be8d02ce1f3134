"""Shows 正在输入 in the chat while an answer is in flight, for accounts that may push.

WeChat ("Customer service input status"): it is shown for 15 s, within 30 s of the user's action.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from wxgptd.domain.model.values import User
from wxgptd.ports.messengers import Messenger
from wxgptd.service.answers.inflight import Flight
from wxgptd.service.state.settings import Settings

PAUSES_S = (1.0, 14.0, 13.0)
"""Delay before each call. An answer that is ready within a second never shows it."""


class TypingIndicator:
    """Shows users that an answer is being written."""

    def __init__(self, settings: Settings, clock: IReactorTime) -> None:
        self._settings = settings
        self._clock = clock

    def begin(self, flight: Flight) -> None:
        """Show it to the user until `flight` lands, or for as long as WeChat allows."""
        user = flight.user
        messenger = self._settings.account(user).messenger
        if messenger is None or not messenger.usable():
            return
        showing = Deferred.fromCoroutine(self._show(user, messenger))
        flight.landed().addBoth(lambda _: showing.cancel())

    async def _show(self, user: User, messenger: Messenger) -> None:
        shown = False
        try:
            for pause_s in PAUSES_S:
                await deferLater(self._clock, pause_s)
                if not messenger.usable():
                    return
                shown = True
                await messenger.show_typing(user.openid, on=True)
        except CancelledError:
            if shown and messenger.usable():
                messenger.show_typing(user.openid, on=False)
