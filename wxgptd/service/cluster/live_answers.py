"""Answers as they are written, for the readers of pages on nodes that do not write them.

A node whose page has a reader says every second which answer it wants; the node that leads then
sends the text so far whenever it has grown, and stops when no node has wanted it for a while. All
of it is encrypted with the user's key and kept nowhere.
"""

from __future__ import annotations

from typing import cast

import msgpack
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from wxgptd.domain.model.values import DeliveryKey, User
from wxgptd.ports.replica import Replica
from wxgptd.ports.store import FollowingStore
from wxgptd.service.answers.inflight import Flight, InFlight

WANT_EVERY_S = 1.0
WANTED_FOR_S = 3.0
SHOW_EVERY_S = 0.15

Answer = tuple[User, DeliveryKey]


_Shown = tuple[bool, str, str]
"""Whether it was started, and the text and the thoughts that were sent last."""


class LiveAnswers:
    """Asks for and sends the text so far. `leads` is whether this node writes the answers."""

    def __init__(
        self, replica: Replica, store: FollowingStore, flights: InFlight, clock: IReactorTime
    ) -> None:
        self._replica = replica
        self._store = store
        self._flights = flights
        self._clock = clock
        self._wanted: dict[Answer, float] = {}
        self._shown: dict[Answer, _Shown] = {}
        self._asked: dict[Answer, float] = {}
        self.leads = False
        flights.on_watch(self._watched)
        self._showing = LoopingCall(self._show)
        self._wanting = LoopingCall(self._want)
        for loop in (self._showing, self._wanting):
            loop.clock = clock

    def begin(self) -> None:
        """Begin to ask and to send."""
        self._wanting.start(WANT_EVERY_S)

    def end(self) -> None:
        """Stop."""
        for loop in (self._showing, self._wanting):
            if loop.running:
                loop.stop()

    # On a node that follows.

    def _watched(self, flight: Flight) -> None:
        """Ask for an answer at once that a reader begins to watch."""
        answer, now = (flight.user, flight.question), self._clock.seconds()
        if not self.leads and now - self._asked.get(answer, 0.0) >= WANT_EVERY_S:
            self._ask(answer, now)

    def _want(self) -> None:
        if self.leads:
            return
        now = self._clock.seconds()
        self._asked = {a: at for a, at in self._asked.items() if now - at < WANTED_FOR_S}
        for user, question, flight in self._flights:
            if flight.is_watched:
                self._ask((user, question), now)

    def _ask(self, answer: Answer, now: float) -> None:
        self._asked[answer] = now
        user, question = answer
        sealed = self._store.seal(user, _packed(str(question)))
        if sealed is not None:
            self._replica.want(sealed)

    def live(self, sealed: bytes) -> None:
        """Take the text so far."""
        told = self._store.unseal(sealed) if not self.leads else None
        if told is None:
            return
        user, plain = told
        match _unpacked(plain):
            case (str() as question, bool() as started, str() as text, str() as thoughts):
                flight = self._flights.find(user, DeliveryKey(question))
                if flight is not None:
                    flight.mirror(text, thoughts, started=started)
            case _:
                pass

    # On the node that leads.

    def wanted(self, sealed: bytes) -> None:
        """Note that another node wants an answer."""
        told = self._store.unseal(sealed) if self.leads else None
        if told is None:
            return
        user, plain = told
        question = _unpacked(plain)
        if isinstance(question, str):
            answer = user, DeliveryKey(question)
            self._shown.pop(answer, None)  # the node that wants it may have nothing so far
            self._wanted[answer] = self._clock.seconds()
            if not self._showing.running:
                self._showing.start(SHOW_EVERY_S)

    def _show(self) -> None:
        now = self._clock.seconds()
        if not self._wanted:
            self._showing.stop()
        for answer, at in list(self._wanted.items()):
            flight = self._flights.find(*answer)
            if flight is None or now - at > WANTED_FOR_S or not self.leads:
                del self._wanted[answer]
                self._shown.pop(answer, None)
            else:
                self._show_one(answer, flight)

    def _show_one(self, answer: Answer, flight: Flight) -> None:
        shown = flight.started, flight.written, flight.thoughts
        if shown == self._shown.get(answer):
            return
        user, question = answer
        plain = _packed((str(question), *shown))
        sealed = self._store.seal(user, plain)
        if sealed is not None:
            self._shown[answer] = shown
            self._replica.show(sealed)


def _packed(value: object) -> bytes:
    return cast("bytes", msgpack.packb(value, unicode_errors="surrogatepass"))


def _unpacked(plain: bytes) -> object:
    try:
        return cast(
            "object", msgpack.unpackb(plain, use_list=False, unicode_errors="surrogatepass")
        )
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
