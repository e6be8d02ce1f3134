"""Projections of the events of all users: links, open sessions, spending.

They reach `decide` only inside a command. All of them are restored when the log is loaded: from
their notes in the snapshot, and from the recent events after it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush
from typing import ClassVar, Protocol

from twisted.logger import Logger

from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.domain.model.values import (
    AssistantName,
    DeliveryKey,
    LinkHash,
    User,
)
from wxgptd.domain.prompt.tokens import Calibration, ModelName
from wxgptd.domain.text.answer_length import Pace
from wxgptd.service.state.settings import Settings
from wxgptd.untyped import Notes

log = Logger()

LONGEST_DAY_S = 25 * 3_600.0
"""The length of the day on which clocks are set back."""

ENOUGH_REPORTS = 200
"""How many answers to learn from at startup: older ones carry little weight."""


class States(Protocol):
    """Access to all users' states."""

    def state(self, user: User) -> UserState:
        """Return the user's state."""
        ...


class Projection:
    """A read model of all users' events, which are passed to it in order.

    When the log is loaded, `restore` gets the notes from the snapshot. Later events of the kinds in
    `replays`, up to the maximum age given there, are then passed to `replay`. The notes are stored
    under `name`; a projection without a name stores none. A projection causes no effects.
    """

    name: ClassVar[str] = ""

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The kinds of events to replay when the log is loaded, and their maximum age (seconds)."""
        return {}

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Apply `event`, which led to `state`."""

    def on_applied(self, user: User, event: e.Event, state: UserState) -> None:
        """Apply an event that another machine recorded, which led to `state`."""
        self.on_event(user, event, state)

    def replay(self, user: User, event: e.Event) -> None:
        """Apply a past event."""

    def replayed(self, states: States) -> None:
        """Finish the replay."""

    def on_link(self, user: User, link: LinkHash, question: DeliveryKey, issued_at: float) -> None:
        """Restore a link to an answer, or to a history if `question` is empty."""

    def on_user(self, user: User, state: UserState) -> None:
        """Take note of a user with recent activity or possibly unfinished work."""

    def snapshot(self) -> object:
        """Return the notes to store, in types that msgpack can encode."""

    def restore(self, notes: Notes) -> None:
        """Restore the stored notes."""


class OpenSessions(Projection):
    """The users who have an open session, and when each session may expire.

    A session's expiry moves with every message, but its entry in the heap does not: the entry is
    checked when it is due, and put back if the session has not expired.
    """

    def __init__(self) -> None:
        self._due_at: dict[User, float] = {}
        self._heap: list[tuple[float, User]] = []

    def __len__(self) -> int:
        return len(self._due_at)

    def __iter__(self) -> Iterator[User]:
        return iter(tuple(self._due_at))

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Track whether the user has an open session."""
        if state.live is None:
            self._due_at.pop(user, None)
        elif user not in self._due_at:
            self._schedule(user, state.live.expires_at)

    def on_user(self, user: User, state: UserState) -> None:
        """Track the user's session if it is open."""
        if state.live is not None:
            self._schedule(user, state.live.expires_at)

    def due(self, now: float) -> Iterator[User]:
        """Yield users whose session may have expired, each once; `keep` those that have not."""
        while self._heap and self._heap[0][0] <= now:
            due_at, user = heappop(self._heap)
            if self._due_at.get(user) == due_at:
                yield user

    def keep(self, user: User, expires_at: float) -> None:
        """Check the user's session again at `expires_at`."""
        self._schedule(user, expires_at)

    def _schedule(self, user: User, at: float) -> None:
        self._due_at[user] = at
        heappush(self._heap, (at, user))


class ModelCalibration(Projection):
    """How many tokens each model reports for a text, and how fast it writes."""

    name = "calibration"

    def __init__(self) -> None:
        self.calibration = Calibration()
        self._paces: dict[ModelName, Pace] = {}
        self._queued: deque[tuple[User, e.Event]] = deque(maxlen=ENOUGH_REPORTS)

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Learn from an answer."""
        if not isinstance(event, e.AnswerCompleted):
            return
        lookup = state.find(event.question)
        selected = lookup[0].model_of(event.usage.assistant) if lookup is not None else ""
        model = event.usage.assistant, selected
        self._paces[model] = self.pace(model).learned(
            event.first_text_s, event.took_s, len(event.text)
        )
        if not event.usage.estimated:
            self.calibration.learn(model, event.usage.prompt_bytes, event.usage.prompt_tokens)

    def pace(self, model: ModelName) -> Pace:
        """Return how fast a model writes, or a default if unknown."""
        return self._paces.get(model, Pace())

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The answers of the last day: older ones carry little weight."""
        return {e.AnswerCompleted: LONGEST_DAY_S}

    def replay(self, user: User, event: e.Event) -> None:
        """Queue an answer to learn from; only the newest are kept."""
        self._queued.append((user, event))

    def replayed(self, states: States) -> None:
        """Learn from the queued answers."""
        for user, event in self._queued:
            self.on_event(user, event, states.state(user))
        self._queued.clear()

    def snapshot(self) -> object:
        """Return what was learned."""
        ratios = self.calibration.known
        return [
            (*model, *ratios.get(model, (0, 0)), *self.pace(model))
            for model in {*ratios, *self._paces}
        ]

    def restore(self, notes: Notes) -> None:
        """Restore what was learned."""
        for assistant, model, prompt_bytes, prompt_tokens, *pace in notes or ():
            if prompt_bytes:
                self.calibration.known[assistant, model] = prompt_bytes, prompt_tokens
            self._paces[assistant, model] = Pace(*pace)


class Spending(Projection):
    """What today's answers and titles have cost, and which assistants have used up their budget.

    Such an assistant still accepts questions if it has a fallback with budget left.
    """

    name = "spending"

    def __init__(self, settings: Settings, day: Callable[[], tuple[float, float]]) -> None:
        self._settings = settings
        self._day = day
        self._began_at = 0.0
        self._costs: defaultdict[AssistantName, float] = defaultdict(float)
        self._logged: set[str] = set()
        self._exhausted: frozenset[AssistantName] = frozenset()

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Add the cost of an answer, even if it was interrupted."""
        paid = e.AnswerCompleted | e.AnswerFailed | e.SessionTitled
        if not isinstance(event, paid) or not event.usage.cost:
            return
        if event.at >= self._today():
            self._costs[event.usage.assistant] += event.usage.cost
            self._update_exhausted()

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The answers that may be from today."""
        paid = e.AnswerCompleted, e.AnswerFailed, e.SessionTitled
        return dict.fromkeys(paid, LONGEST_DAY_S)

    def replay(self, user: User, event: e.Event) -> None:
        """Add the cost of an answer."""
        self.on_event(user, event, EMPTY)

    def snapshot(self) -> object:
        """Return today's costs so far."""
        return [self._today(), dict(self._costs)]

    def restore(self, notes: Notes) -> None:
        """Restore the costs if they are from today."""
        if notes and notes[0] == self._today():
            self._costs.update(notes[1])
            self._update_exhausted()

    def _today(self) -> float:
        began_at, _ = self._day()
        if began_at != self._began_at:
            self._began_at = began_at
            self._costs.clear()
            self._logged.clear()
            self._exhausted = frozenset()
        return began_at

    def reconsider(self) -> None:
        """Recompute which budgets are used up: the configured budgets may have changed."""
        self._today()
        self._exhausted = frozenset()
        self._update_exhausted()

    def _update_exhausted(self) -> None:
        daily_budget, assistants = self._settings.daily_budget, self._settings.assistants
        if 0 < daily_budget <= sum(self._costs.values()):
            self._log_used_up("all assistants together", daily_budget)
            self._exhausted = frozenset(assistants)
            return
        for name, assistant in assistants.items():
            if 0 < assistant.daily_budget <= self._costs.get(name, 0.0):
                self._log_used_up(f"assistant {name}", assistant.daily_budget)
                self._exhausted |= {name}

    def _log_used_up(self, who: str, budget: float) -> None:
        if who not in self._logged:
            self._logged.add(who)
            log.error(
                "{who}: daily budget of {budget:g} used up",
                id="budget-used-up",
                who=who,
                budget=budget,
            )

    def spent(self) -> Mapping[AssistantName, float]:
        """Return what each assistant has cost today."""
        self._today()
        return {name: round(cost, 6) for name, cost in self._costs.items()}

    def exhausted(self) -> frozenset[AssistantName]:
        """Return the assistants that may no longer be used today."""
        self._today()
        return self._exhausted

    def without_budget(self) -> frozenset[AssistantName]:
        """Return the assistants that accept no questions: all their fallbacks are exhausted too."""
        exhausted = self.exhausted()
        if not exhausted:
            return exhausted
        assistants = self._settings.assistants
        return frozenset(
            name
            for name in exhausted
            if all(other in exhausted for other in assistants[name].fallback)
        )
