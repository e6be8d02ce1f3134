"""The single-flight table: the answers being written, and their observers.

Deferreds live here and never in state. Each observer gets its own, so a peer that hangs up cancels
only its own wait. (Modelled on Synapse's ResponseCache.)
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator

from twisted.internet.defer import CancelledError, Deferred

from wxgptd.domain.model.values import AnswerUsage, DeliveryKey, User
from wxgptd.ports.pages import Progress

MAX_THOUGHT_CHARS = 50_000


class Flight:
    """An in-flight answer to `user`'s `question`: the text so far, and its observers.

    `watch` is called whenever an observer begins to wait for the next change. `started` is false
    while the question waits; `in_line` is true while it waits for a slot, rather than for another
    question of the same user. `charge` returns the token usage so far, once a model has been
    called.
    """

    def __init__(
        self,
        user: User,
        question: DeliveryKey,
        watch: Callable[[Flight], None] | None = None,
    ) -> None:
        self.user = user
        self.question = question
        self.started = False
        self.in_line = False
        self.charge: Callable[[], AnswerUsage] | None = None
        self._run: Deferred[None] | None = None
        self._pieces: list[str] = []
        self._thoughts: list[str] = []
        self._thought_chars = 0
        self._watch = watch
        self._landing: list[Deferred[None]] = []
        self._changes: list[Deferred[None]] = []

    @property
    def written(self) -> str:
        """The answer so far."""
        if len(self._pieces) > 1:
            self._pieces[:] = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def write(self, piece: str) -> None:
        """Add a piece of the answer."""
        self._pieces.append(piece)
        self._notify_changed()

    @property
    def progress(self) -> Progress:
        """The stage that the answer has reached."""
        if not self.started:
            return Progress.WAITING
        return Progress.WRITING if self._pieces else Progress.THINKING

    @property
    def thoughts(self) -> str:
        """The model's thoughts so far, if they may be shown."""
        if len(self._thoughts) > 1:
            self._thoughts[:] = ["".join(self._thoughts)]
        return self._thoughts[0] if self._thoughts else ""

    def think(self, piece: str) -> None:
        """Add a piece of the model's thoughts; pieces past the limit are dropped."""
        if self._thought_chars < MAX_THOUGHT_CHARS:
            self._thoughts.append(piece)
            self._thought_chars += len(piece)
            self._notify_changed()

    def discard_thoughts(self) -> None:
        """Discard the thoughts: they are another model's, or must not be shown."""
        if self._thoughts:
            self._thoughts, self._thought_chars = [], 0
            self._notify_changed()

    def rewrite(self, text: str) -> None:
        """Replace the text so far with `text`: the answer starts over."""
        if self.written != text:
            self._pieces[:] = [text] if text else []
            self._notify_changed()

    def _notify_changed(self) -> None:
        """Notify the observers that the answer has changed."""
        _fire(self._changes)

    def landed(self) -> Deferred[None]:
        """Fire when the answer is recorded, completed or failed."""
        return _observe(self._landing)

    def changed(self) -> Deferred[None]:
        """Fire at the next change, or when the answer is recorded."""
        if self._watch is not None:
            self._watch(self)
        return _observe(self._changes)

    @property
    def is_watched(self) -> bool:
        """Whether an observer waits for the next change."""
        return bool(self._changes)

    def mirror(self, text: str, thoughts: str, *, started: bool) -> None:
        """Take over the text so far of an answer that another node writes."""
        self.started = started
        self._thoughts, self._thought_chars = [thoughts] if thoughts else [], len(thoughts)
        self._pieces[:] = [text] if text else []
        self._notify_changed()

    def land(self) -> None:
        """Notify all observers that the answer is recorded, and release the prompt."""
        self.charge = None  # it references the prompt, pictures included
        _fire(self._landing)
        _fire(self._changes)

    def start(
        self,
        run: Callable[[], Coroutine[Deferred[object], object, None]],
        ended: Callable[[], None],
    ) -> None:
        """Start `run`, which answers the question; `ended` is called when it is done."""
        self.started, self.in_line = True, False
        running = Deferred.fromCoroutine(run())
        self._run = None if running.called else running
        running.addBoth(lambda _: ended())
        self._notify_changed()

    def finished(self) -> None:
        """Note that the model is done: nothing is left to cancel."""
        self._run = None

    def cancel(self) -> None:
        """Stop the model if it is still running."""
        run, self._run = self._run, None
        if run is not None:
            run.cancel()


def _observe(observers: list[Deferred[None]]) -> Deferred[None]:
    def forget(cancelled: Deferred[None]) -> None:
        if cancelled in observers:
            observers.remove(cancelled)
        cancelled.errback(CancelledError())

    observer: Deferred[None] = Deferred(forget)
    observers.append(observer)
    return observer


def _fire(observers: list[Deferred[None]]) -> None:
    waiting, observers[:] = observers[:], []
    for observer in waiting:
        observer.callback(None)


class InFlight:
    """All flights, by user and question."""

    def __init__(self) -> None:
        self._flights: dict[tuple[User, DeliveryKey], Flight] = {}
        self._on_start: list[Callable[[Flight], None]] = []
        self._on_watch: Callable[[Flight], None] | None = None

    def on_watch(self, call: Callable[[Flight], None]) -> None:
        """Call `call` with each flight, opened from now on, that is observed for changes."""
        self._on_watch = call

    def on_start(self, call: Callable[[Flight], None]) -> None:
        """Register `call` to be called with each flight that starts from now on."""
        self._on_start.append(call)

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[tuple[User, DeliveryKey, Flight]]:
        return iter(
            [(user, question, flight) for (user, question), flight in self._flights.items()]
        )

    def find(self, user: User, question: DeliveryKey) -> Flight | None:
        """Return the flight of that question, or None if its answer is recorded."""
        return self._flights.get((user, question))

    def open(self, user: User, question: DeliveryKey) -> None:
        """Open a flight; its model is called later."""
        self._flights[user, question] = Flight(user, question, self._on_watch)

    def land(self, user: User, question: DeliveryKey) -> None:
        """End a flight whose answer is recorded."""
        flight = self._flights.pop((user, question), None)
        if flight is not None:
            flight.land()

    def start(
        self,
        flight: Flight,
        run: Callable[[], Coroutine[Deferred[object], object, None]],
        ended: Callable[[], None],
    ) -> None:
        """Start `run`, which answers the flight's question; `ended` is called when it is done."""
        flight.start(run, ended)
        for call in self._on_start:
            call(flight)

    def running(self) -> int:
        """Count the flights whose model has been called."""
        return sum(flight.started for flight in self._flights.values())

    def forget_all(self) -> None:
        """Forget all flights, stop their models, and notify their observers."""
        flights, self._flights = list(self._flights.values()), {}
        for flight in flights:
            flight.cancel()
            flight.land()

    def cancel_all(self) -> None:
        """Stop all models, and record no answer to their questions."""
        flights, self._flights = list(self._flights.values()), {}
        for flight in flights:
            flight.cancel()
