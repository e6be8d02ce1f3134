"""What happened in a run, as far as invariants depend on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.simulation.models import TAG, Models
from tests.simulation.node import Append, Node
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import DeliveryKey, User
from wxgptd.ports.record import Recorded

RECORDS = e.QuestionAsked | e.ContinuationAsked | e.CommandGiven | e.MessageDeclined
"""The events that record a message for the AI."""


class History:
    """Records what the log acknowledged, what starts found in it, and when processes ended."""

    def __init__(self, node: Node, models: Models) -> None:
        self._node = node
        self._models = models
        self.asked: dict[DeliveryKey, str] = {}
        """The tag of each question, acknowledged or found by a start."""
        self.times_asked: Counter[str] = Counter()
        """How often a question with this tag was recorded."""
        self._counted: set[int] = set()
        self.ended: set[DeliveryKey] = set()
        """The questions whose answer was recorded, completed or failed."""
        self.cut_off: Counter[str] = Counter()
        """How often a question with this tag was in flight when the process ended."""
        self.process_ends: list[float] = []
        self.early_calls: list[str] = []
        """The tags of questions that were not durable when a model was called."""
        self.recorded_at: dict[str, float] = {}
        """When it was first acknowledged that a message is recorded, by its key."""
        self.settled_at: dict[str, float] = {}
        """When it was first known that a message's reply is durable, by the message's key."""
        self.repeated_at: dict[DeliveryKey, list[float]] = defaultdict(list)
        """When it was acknowledged that WeChat delivers a message again."""
        self.disk_troubles: list[tuple[float, float]] = []
        """From when until when the disk may delay replies."""
        self.clock_stepped_at: list[float] = []
        self.declined: list[tuple[float, User]] = []
        """When which user was declined or blocked, by the world's clock."""
        node.on_acknowledged = self._acknowledged
        node.on_process_end = self._process_ended
        models.on_call = self._called

    def found(self, records: list[Recorded]) -> None:
        """Note what a start found in the log."""
        for record in records:
            asked = record.event
            if isinstance(asked, e.QuestionAsked) and record.seq not in self._counted:
                self._counted.add(record.seq)
                self.times_asked.update(TAG.findall(asked.text))
            self._note(record.event)

    def applied(self, event: e.Event) -> None:
        """Note what a standby applied: then a quorum has stored it."""
        self._note(event)

    def _acknowledged(self, append: Append) -> None:
        for seq, event in enumerate(append.events, append.seq - len(append.events) + 1):
            self._note(event)
            if isinstance(event, e.QuestionAsked):
                self._counted.add(seq)
                self.times_asked.update(TAG.findall(event.text))
            if isinstance(event, RECORDS):
                self.recorded_at.setdefault(event.delivery, self._node.world_clock.seconds())
            if isinstance(event, e.AttemptRepeated):
                self.repeated_at[event.delivery].append(self._node.world_clock.seconds())
            if isinstance(event, e.MessageDeclined | e.StandingChanged):
                self.declined.append((self._node.world_clock.seconds(), append.user))

    def _note(self, event: e.Event) -> None:
        if isinstance(event, e.QuestionAsked) and (tags := TAG.findall(event.text)):
            self.asked[event.delivery] = tags[0]
            self.ended.discard(event.delivery)  # asked again after its user was erased
        elif isinstance(event, e.AnswerCompleted | e.AnswerFailed):
            self.ended.add(event.question)
        elif isinstance(event, e.ReplyOffered):
            self.settled_at.setdefault(event.delivery, self._node.world_clock.seconds())

    def _called(self, tag: str) -> None:
        if tag not in self.asked.values():
            self.early_calls.append(tag)

    def _process_ended(self) -> None:
        self.process_ends.append(self._node.world_clock.seconds())
        for question, tag in self.asked.items():
            if question not in self.ended and tag in self._models.calls:
                self.cut_off[tag] += 1

    def had_disk_trouble(self, begin: float, end: float) -> bool:
        """Return whether the disk may have delayed replies at any time from `begin` to `end`."""
        return any(since < end and until > begin for since, until in self.disk_troubles)

    # Erasure.

    def erasures(self) -> dict[User, int]:
        """Return the number of each user's last acknowledged erasure."""
        return {
            append.user: append.seq
            for append in self._node.acknowledged
            if isinstance(append.events[-1], e.UserErased)
        }

    def erased_tags(self) -> set[str]:
        """Return the tags of questions that were erased, and not asked again."""
        erased = self.erasures()
        gone, left = set[str](), set[str]()
        for append in self._node.acknowledged:
            for event in append.events:
                if isinstance(event, e.QuestionAsked):
                    is_gone = append.seq <= erased.get(append.user, 0)
                    (gone if is_gone else left).update(TAG.findall(event.text))
        return gone - left

    def erased_between(self, openid: str, begin: float, end: float) -> Iterator[float]:
        """Yield when a user was erased, from `begin` to `end`."""
        for erasure in self._node.erasures:
            if erasure.openid == openid and begin <= erasure.at <= end:
                yield erasure.at
