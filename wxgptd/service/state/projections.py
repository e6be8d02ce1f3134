"""What is derived from the events of all users: links, open sessions, what was spent.

None of it is ever an input to `decide` but through a command, and all of it comes back with the
log: from what a snapshot has noted down, and from the recent events behind it.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
from wxgptd.loose import Notes
from wxgptd.service.state.settings import Settings

log = Logger()

LONGEST_DAY_S = 25 * 3_600.0
"""When clocks are set back."""

ENOUGH_REPORTS = 200
"""Of how many tokens a prompt had: what came before them weighs little."""


class States(Protocol):
    """Whoever knows all users' states."""

    def state(self, user: User) -> UserState:
        """Return the user's state."""
        ...


class Projection:
    """Something derived from the events of all users; told of each one in order.

    When the log is loaded it is given back what it had noted down, and told of the events of the
    kinds in `recalls` behind that, as far as they are not older than that many seconds. What it
    notes down is under its `name`; none is nothing. It causes no effects.
    """

    name: ClassVar[str] = ""

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The kinds of events to be told of when the log is loaded, and how old they may be."""
        return {}

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Take note of `event`, which led to `state`."""

    def replay(self, user: User, event: e.Event) -> None:
        """Take note of an event of the past."""

    def replayed(self, states: States) -> None:
        """Take note that this was all."""

    def on_link(self, user: User, link: LinkHash, question: DeliveryKey, issued_at: float) -> None:
        """Take note of a link that was made: to an answer, or to a history."""

    def on_user(self, user: User, state: UserState) -> None:
        """Take note of a user who may have something open, or was here just now."""

    def snapshot(self) -> object:
        """Return what is to be remembered, made of what msgpack knows."""

    def restore(self, notes: Notes) -> None:
        """Take up what was remembered."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a link leads to: the answer to `question`, or the user's history if that is empty."""

    user: User
    question: DeliveryKey
    issued_at: float


class LinkIndex(Projection):
    """All links that may lead somewhere, by the hash of their token.

    Whether they still do, the state of their user knows: a link dies with the `/clear` of the
    session it belongs to (that of a history, with any), and with its user's erasure.
    """

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self._targets: OrderedDict[LinkHash, Target] = OrderedDict()

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """Links that have not expired."""
        return {e.QuestionAsked: self.ttl_s, e.HistoryLinkIssued: self.ttl_s}

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Note new links, forget those of a user who is erased."""
        match event:
            case e.QuestionAsked():
                self._targets[event.link] = Target(user, event.delivery, event.at)
            case e.HistoryLinkIssued():
                self._targets[event.link] = Target(user, DeliveryKey(""), event.at)
            case e.UserErased():
                for link in [one for one, to in self._targets.items() if to.user == user]:
                    del self._targets[link]
            case _:
                pass

    def replay(self, user: User, event: e.Event) -> None:
        """Note a link that was made."""
        self.on_event(user, event, EMPTY)

    def on_link(self, user: User, link: LinkHash, question: DeliveryKey, issued_at: float) -> None:
        """Note a link that was made."""
        self._targets[link] = Target(user, question, issued_at)

    def find(self, link: LinkHash, now: float) -> Target | None:
        """Return where `link` leads, or None if nowhere (any more)."""
        target = self._targets.get(link)
        if target is None or now - target.issued_at > self.ttl_s:
            return None
        return target

    def forget_expired(self, now: float) -> None:
        """Drop what `find` would not return any more."""
        while self._targets:
            link, target = next(iter(self._targets.items()))
            if now - target.issued_at <= self.ttl_s:
                return
            del self._targets[link]


class OpenSessions(Projection):
    """The users who have a session, and when each may have to be closed.

    A session's end moves with every message, its entry in the heap does not: it is looked at
    when its time has come, and put back if the session's has not.
    """

    def __init__(self) -> None:
        self._due_at: dict[User, float] = {}
        self._heap: list[tuple[float, User]] = []

    def __len__(self) -> int:
        return len(self._due_at)

    def __iter__(self) -> Iterator[User]:
        return iter(tuple(self._due_at))

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Note who has a session."""
        if state.live is None:
            self._due_at.pop(user, None)
        elif user not in self._due_at:
            self._look_at(user, state.live.expires_at)

    def on_user(self, user: User, state: UserState) -> None:
        """Note whose session was open."""
        if state.live is not None:
            self._look_at(user, state.live.expires_at)

    def due(self, now: float) -> Iterator[User]:
        """Yield the users whose session may be over, each once; `keep` those that are not."""
        while self._heap and self._heap[0][0] <= now:
            due_at, user = heappop(self._heap)
            if self._due_at.get(user) == due_at:
                yield user

    def keep(self, user: User, expires_at: float) -> None:
        """Look at the user's session again when it expires."""
        self._look_at(user, expires_at)

    def _look_at(self, user: User, at: float) -> None:
        self._due_at[user] = at
        heappush(self._heap, (at, user))


class Calibrated(Projection):
    """How many tokens each model makes of a text, as its server has reported; how quick it is."""

    name = "calibration"

    def __init__(self) -> None:
        self.calibration = Calibration()
        self._paces: dict[ModelName, Pace] = {}
        self._recalled: deque[tuple[User, e.Event]] = deque(maxlen=ENOUGH_REPORTS)

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Learn from an answer."""
        if not isinstance(event, e.AnswerCompleted):
            return
        found = state.find(event.question)
        chosen = found[0].model_of(event.usage.assistant) if found is not None else ""
        model = event.usage.assistant, chosen
        self._paces[model] = self.pace(model).learned(
            event.first_text_s, event.took_s, len(event.text)
        )
        if not event.usage.estimated:
            self.calibration.learn(model, event.usage.prompt_bytes, event.usage.prompt_tokens)

    def pace(self, model: ModelName) -> Pace:
        """Return how quickly a model writes, as far as is known."""
        return self._paces.get(model, Pace())

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The answers of a day: what is older weighs little."""
        return {e.AnswerCompleted: LONGEST_DAY_S}

    def replay(self, user: User, event: e.Event) -> None:
        """Take note of what a server reported; the newest ones will do."""
        self._recalled.append((user, event))

    def replayed(self, states: States) -> None:
        """Learn from what servers reported."""
        for user, event in self._recalled:
            self.on_event(user, event, states.state(user))
        self._recalled.clear()

    def snapshot(self) -> object:
        """Return what was learned."""
        known = self.calibration.known
        return [
            (*model, *known.get(model, (0, 0)), *self.pace(model))
            for model in {*known, *self._paces}
        ]

    def restore(self, notes: Notes) -> None:
        """Take up what was learned."""
        for assistant, model, seen, counted, *pace in notes or ():
            if seen:
                self.calibration.known[assistant, model] = seen, counted
            self._paces[assistant, model] = Pace(*pace)


class Spending(Projection):
    """What the answers of the day have cost, and whose budget is used up.

    An assistant with a fallback that still may be asked takes questions all the same.
    """

    name = "spending"

    def __init__(self, settings: Settings, day: Callable[[], tuple[float, float]]) -> None:
        self._settings = settings
        self._day = day
        self._began_at = 0.0
        self._costs: defaultdict[AssistantName, float] = defaultdict(float)
        self._told: set[str] = set()
        self._exhausted: frozenset[AssistantName] = frozenset()

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Add what an answer cost, or what broke off."""
        if not isinstance(event, e.AnswerCompleted | e.AnswerFailed) or not event.usage.cost:
            return
        if event.at >= self._today():
            self._costs[event.usage.assistant] += event.usage.cost
            self._judge()

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The answers that may be of today."""
        return {e.AnswerCompleted: LONGEST_DAY_S, e.AnswerFailed: LONGEST_DAY_S}

    def replay(self, user: User, event: e.Event) -> None:
        """Add what an answer cost."""
        self.on_event(user, event, EMPTY)

    def snapshot(self) -> object:
        """Return what today has cost so far."""
        return [self._today(), dict(self._costs)]

    def restore(self, notes: Notes) -> None:
        """Take up what today has cost, if it is still today."""
        if notes and notes[0] == self._today():
            self._costs.update(notes[1])
            self._judge()

    def _today(self) -> float:
        began_at, _ = self._day()
        if began_at != self._began_at:
            self._began_at = began_at
            self._costs.clear()
            self._told.clear()
            self._exhausted = frozenset()
        return began_at

    def reconsider(self) -> None:
        """Judge anew who may still be asked today: budgets may have changed."""
        self._today()
        self._exhausted = frozenset()
        self._judge()

    def _judge(self) -> None:
        daily_budget, assistants = self._settings.daily_budget, self._settings.assistants
        if 0 < daily_budget <= sum(self._costs.values()):
            self._tell("all assistants together", daily_budget)
            self._exhausted = frozenset(assistants)
            return
        for name, one in assistants.items():
            if 0 < one.daily_budget <= self._costs.get(name, 0.0):
                self._tell(f"assistant {name}", one.daily_budget)
                self._exhausted |= {name}

    def _tell(self, who: str, budget: float) -> None:
        if who not in self._told:
            self._told.add(who)
            log.error("{who}: the budget of the day ({budget:g}) is spent", who=who, budget=budget)

    def spent(self) -> Mapping[AssistantName, float]:
        """Return what each assistant has cost today."""
        self._today()
        return {name: round(cost, 6) for name, cost in self._costs.items()}

    def exhausted(self) -> frozenset[AssistantName]:
        """Return the assistants that may not be asked any more today."""
        self._today()
        return self._exhausted

    def without_budget(self) -> frozenset[AssistantName]:
        """Return the assistants whose sessions take no question: nobody is left to ask."""
        exhausted = self.exhausted()
        if not exhausted:
            return exhausted
        assistants = self._settings.assistants
        return frozenset(
            name
            for name in exhausted
            if all(other in exhausted for other in assistants[name].fallback)
        )
