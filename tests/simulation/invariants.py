"""The invariants of every run."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from math import inf

from tests.simulation.history import History
from tests.simulation.limits import Limits
from tests.simulation.models import GOOD, TAG, Models
from tests.simulation.network import ARRIVES, WINDOW_S, Message, Network
from tests.simulation.node import MASTER, Append, Node
from tests.simulation.people import Person
from tests.support.words_in import words_in
from wxgptd.domain.evolve import fold
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import DeliveryKey, User
from wxgptd.domain.replies.texts import Texts
from wxgptd.eventlog import loading, segments, snapshot
from wxgptd.eventlog.keyring import Keyring
from wxgptd.llm.client import MAX_RETRIES
from wxgptd.ports.record import Hidden, Recorded

STORAGE_FULL = Texts().storage_full
ANSWERED = re.compile(r"〔((\w+)#\d+)\.(\d+)〕第(\d{3})句话在这里说完了")
"""A sentence of an answer: its question, its user, the model call and its number."""

ENDED_BY_THE_DAEMON = ("refused", "closed")
MAX_CONCESSIONS = 4
"""A server that complains of a parameter is asked once more without it."""

SILENT_S = 70.0
"""A user who was declined may get no reply for this long."""


class Violation(AssertionError):
    """An invariant, named `invariant`, does not hold."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(text)
        self.invariant = invariant


class Invariants:
    """Checks a run: after each step, after each start, and at its end."""

    def __init__(self, node: Node, network: Network, models: Models, people: list[Person]) -> None:
        self._node = node
        self._network = network
        self._models = models
        self._people = people
        self.history = History(node, models)
        node.on_start = self.after_a_start

    # While it runs.

    def after_a_step(self) -> None:
        """Check what happened in the last step.

        Raises:
            Violation: an invariant does not hold.
        """
        if early := self.history.early_calls:
            raise Violation("durable before act", f"a model was called for {early[0]} too early")
        bound = self._node.config.assistant["chatgpt"].max_running
        if bound and self._node.model.running > bound + 1:  # one more to probe the server
            text = f"{self._node.model.running} concurrent model calls, the limit is {bound}"
            raise Violation("limits", text)
        for person in self._people:
            for page in person.pages:
                if others := _others(page, person.name):
                    raise Violation("isolation", f"{person.name} could read about {others}")
            person.pages.clear()

    def live_state_is_the_fold(self) -> None:
        """Check that each user's state, live and read from the log, is the fold of the events.

        Raises:
            Violation: an invariant does not hold.
        """
        if self._node.store is None or self._node.store.figures().pending:
            return
        by_user: dict[User, list[e.Event]] = defaultdict(list)
        for record in self._node.scan():
            if record.hidden is Hidden.READABLE:
                by_user[record.user].append(record.event)
        journal = self._node.service.state.journal
        loaded = dict(journal.loaded())
        for user in {*by_user, *loaded}:
            stored = journal.users.find(user)
            if stored is None:
                raise Violation("fold", f"{user.openid} has events and no state in the log")
            for state in (stored, loaded.get(user, stored)):
                self._is_the_fold(user, state, by_user[user])

    def _is_the_fold(self, user: User, state: UserState, events: list[e.Event]) -> None:
        if state.version != len(events):
            if state.version > len(events) and self._node.config.log.keep:
                return  # retention has dropped the first
            text = f"{user.openid} has {len(events)} events, but version {state.version}"
            raise Violation("fold", text)
        since = max(self._node.service.state.journal._keep_since, state.history_since)
        # How far back the history goes depends on when it was trimmed.
        folded = fold(events).trimmed(since)._replace(history_since=0.0)
        if folded != state.trimmed(since)._replace(history_since=0.0):
            raise Violation("fold", f"the state of {user.openid} is not that of its events")

    # After each start, and at the end.

    def after_a_start(self) -> None:
        """Check that a start found every acknowledged event, unchanged.

        Raises:
            Violation: an invariant does not hold.
        """
        if self._node.damages:
            raise Violation("no damage", f"inconsistent events: {self._node.damages[0]}")
        found = self._node.scan()
        self.history.found(found)
        records = {record.seq: record for record in found}
        first = min(records, default=0)
        if first > 1 and not self._node.config.log.keep:
            raise Violation("nothing is lost", f"the log begins with event {first}")
        erased_at = {
            record.user: record.seq for record in found if isinstance(record.event, e.UserErased)
        }
        for append in self._node.acknowledged:
            for number, event in enumerate(append.events, append.seq - len(append.events) + 1):
                if number >= first:
                    self._require(append, number, event, records.get(number), erased_at)

    @staticmethod
    def _require(
        append: Append,
        number: int,
        event: e.Event,
        record: Recorded | None,
        erased_at: dict[User, int],
    ) -> None:
        if record is None:
            text = f"event {number} was acknowledged and is not in the log"
            raise Violation("nothing is lost", text)
        if record.hidden is Hidden.ERASED:
            if erased_at.get(record.user, 0) < number:
                text = f"event {number} of {append.user.openid} cannot be read"
                raise Violation("nothing is lost", text)
        elif record.event != event:
            text = f"event {number} is {record.event}, acknowledged was {event}"
            raise Violation("nothing is lost", text)

    # At the end.

    def before_the_last_stop(self) -> None:
        """Check what the process has in memory.

        Raises:
            Violation: an invariant does not hold.
        """
        erased = self.history.erased_tags()
        for text in words_in(self._node.service, lambda text: not erased.isdisjoint(_tags(text))):
            raise Violation("erasure", f"text of an erased user is still in memory: {text[:60]}")
        answers = self._node.service.answers
        left = answers.flights.running(), sum(answers.slots._running.values())
        if any(left) or self._node.model.running:
            text = f"flights, slots and calls left: {left}, {self._node.model.running}"
            raise Violation("every question ends", text)

    def at_the_end(self) -> None:
        """Check the whole run, after a last stop and start.

        Raises:
            Violation: an invariant does not hold.
        """
        self.live_state_is_the_fold()
        for invariant, check in (
            ("isolation", self._no_user_reads_another),
            ("one answer", self._one_answer_per_question),
            ("every question ends", self._every_question_ends),
            ("model calls", self._no_excess_model_calls),
            ("every message is answered", self._every_message_is_answered),
            ("one reply", self._one_reply_per_message),
            ("durable before act", self._replies_are_durable),
            ("paging", self._paging_is_complete),
            ("paging", self._replies_are_complete),
            ("limits", Limits(self._node, self._network, self.history).violations),
            ("erasure", self._erased_is_erased),
        ):
            for violation in check():
                raise Violation(invariant, violation)

    def _no_user_reads_another(self) -> Iterator[str]:
        for message in self._network.messages:
            for _, text in message.replies:
                if others := _others(text, message.user):
                    yield f"{message.user} was sent text about {others}"

    def _one_answer_per_question(self) -> Iterator[str]:
        outcomes = Counter(
            (record.user, record.event.question)
            for record in self._node.scan()
            if isinstance(record.event, e.AnswerCompleted | e.AnswerFailed)
        )
        for (user, question), count in outcomes.items():
            if count > 1:
                yield f"{count} answers of {user.openid} to {question}"

    def _every_question_ends(self) -> Iterator[str]:
        for record in self._node.scan():
            event = record.event
            if (
                isinstance(event, e.QuestionAsked)
                and record.hidden is Hidden.READABLE
                and event.delivery not in self.history.ended
            ):
                yield f"{record.user.openid}'s question {event.text!r} has no outcome"

    def _no_excess_model_calls(self) -> Iterator[str]:
        asked = self.history.times_asked
        for tag, ways in self._models.calls.items():
            allowed = asked[tag] + self.history.cut_off[tag]
            if any(way not in GOOD for way in ways):
                allowed = allowed * (1 + MAX_RETRIES) + MAX_CONCESSIONS
            if len(ways) > allowed:
                yield f"{len(ways)} model calls for {tag}, {allowed} are allowed"

    # Replies.

    def _every_message_is_answered(self) -> Iterator[str]:
        for message in self._network.messages:
            if message.failure:
                yield f"delivering {message.text!r} failed: {message.failure}"
            elif message.delivery is None:
                yield f"WeChat is still delivering {message.text!r} of {message.user}"
            elif not self._is_excused(message):
                shown = f"{message.text!r} of {message.user} at {message.at:.2f}"
                if message.delivery.fault:
                    yield f"WeChat showed its error text for {shown}"
                elif not message.delivery.shown and self._is_due(message):
                    yield f"there was no reply to {shown}"

    def _is_excused(self, message: Message) -> bool:
        """Return whether the network, the disk or the clock may have cost the reply."""
        if message.ways[-1:] not in (["arrives"], ["repeated"]):
            return True
        first_lost = message.ways[0] not in ARRIVES
        if first_lost and not self._is_clock_known(message.at):
            return True  # then a lost first attempt cannot be inferred
        assert message.delivery is not None
        if any(attempt.result in ENDED_BY_THE_DAEMON for attempt in message.delivery.attempts):
            return True  # it was down
        ends = message.at + WINDOW_S + 1
        return self.history.had_disk_trouble(message.at, ends) or any(
            message.at <= end <= ends for end in self.history.process_ends
        )

    def _is_clock_known(self, at: float) -> bool:
        """Return whether the daemon knows at `at` how far its clock is ahead of WeChat's."""
        steps = self.history.clock_stepped_at
        samples = self.history.recorded_at.values()
        return not any(step < at + WINDOW_S for step in steps) and min(samples, default=inf) < at

    def _is_due(self, message: Message) -> bool:
        """Return whether a message must get a reply: it was recorded, or opens a session."""
        if any(self.history.erased_between(message.user, message.at - 20, message.at + WINDOW_S)):
            return False
        if (recorded_at := self.history.recorded_at.get(message.key)) is not None:
            # At first it may have been none of the AI's business; then WeChat asks no more.
            return not message.replies or message.replies[0][0] >= recorded_at
        declined = any(
            user.openid == message.user and message.at - SILENT_S < at < message.at + WINDOW_S
            for at, user in self.history.declined
        )
        return message.text == "/chatgpt" and not declined

    def _one_reply_per_message(self) -> Iterator[str]:
        # A message that is not for the AI leaves no trace, so its next attempt may be answered.
        for message in self._network.messages:
            replies = self._remembered(message)
            texts = list(dict.fromkeys(text for _, text in replies if text))
            if len(texts) > 1:
                yield f"{message.user} could read different replies to {message.text!r}: {texts}"
            for at, text in replies:
                before = [when for when, earlier in replies if when < at and earlier]
                over = at >= message.at + WINDOW_S
                if text or over or not before:
                    continue
                if not any(self.history.erased_between(message.user, message.at, at)):
                    yield f"the reply to {message.text!r} of {message.user} was withdrawn"

    def _remembered(self, message: Message) -> list[tuple[float, str]]:
        """Return the replies to a message that the last process to answer it remembered.

        What an erased user was told, and that a message was turned away, is only in memory.
        """
        newest = max((at for at, _ in message.replies), default=0.0)
        ends = [end for end in self.history.process_ends if end < newest]

        def forgotten(at: float, text: str) -> bool:
            erased = min(self.history.erased_between(message.user, at, inf), default=inf)
            since = at if text == STORAGE_FULL else erased
            return any(since <= end for end in ends)

        return [(at, text) for at, text in message.replies if not forgotten(at, text)]

    def _replies_are_durable(self) -> Iterator[str]:
        for message in self._network.messages:
            for at, text in message.replies:
                durable_at = self.history.settled_at.get(message.key, inf)
                if text and text != STORAGE_FULL and at < durable_at:
                    yield f"{message.user} got a reply to {message.text!r} before it was durable"

    # Paging.

    def _paging_is_complete(self) -> Iterator[str]:
        offered: dict[tuple[User, DeliveryKey], int] = {}
        for record in self._node.scan():
            event = record.event
            if isinstance(event, e.AnswerRestarted):
                offered.pop((record.user, event.question), None)
            if isinstance(event, e.ReplyOffered) and event.question and event.end > event.start:
                key = record.user, event.question
                due = offered.get(key, 0)
                own = event.delivery == event.question  # it repeats an answer offered in full
                dropped = key not in offered and bool(self._node.config.log.keep)
                if event.start != due and not dropped and not (own and event.start == 0):
                    yield (
                        f"{record.user.openid} was offered {event.start} to {event.end} of "
                        f"{event.question}, where {due} was next"
                    )
                offered[key] = event.end

    def _replies_are_complete(self) -> Iterator[str]:
        """Check the sentences that users were sent: each once, in order, none left out."""
        texts = {
            message.key: text
            for message in self._network.messages
            for _, text in message.replies[:1]
            if text
        }
        last: dict[DeliveryKey, int | None] = {}
        calls: dict[DeliveryKey, str] = {}
        ends: dict[DeliveryKey, int] = {}
        for append in self._node.acknowledged:
            for event in append.events:
                if isinstance(event, e.AnswerRestarted):
                    last.pop(event.question, None)
                    calls.pop(event.question, None)
                if not isinstance(event, e.ReplyOffered) or event.end <= event.start:
                    continue
                if ends.get(event.question, 0) != event.start:
                    last[event.question] = None  # a crash left a reply unacknowledged
                ends[event.question] = event.end
                tag = self.history.asked.get(event.question, "")
                found = ANSWERED.findall(texts.get(event.delivery, ""))
                if others := {name for name, _, _, _ in found} - {tag}:
                    yield f"{append.user.openid} was sent answers to {others}, asked was {tag}"
                numbers = [int(number) for name, _, _, number in found if name == tag]
                if not numbers:
                    last[event.question] = None  # what was in it is not known
                    continue
                call = found[0][2] if event.start == 0 else calls.get(event.question, found[0][2])
                calls[event.question] = call
                if {by for _, _, by, _ in found} != {call}:
                    yield f"{append.user.openid} was sent two different answers to {tag}"
                before = last.get(event.question, -1) if event.start else -1
                first = numbers[0] if before is None else before + 1
                if numbers != list(range(first, first + len(numbers))):
                    yield f"{append.user.openid} was sent sentences {numbers} of {tag} after {before}"
                last[event.question] = numbers[-1]

    # Erasure.

    def _erased_is_erased(self) -> Iterator[str]:
        erased = self.history.erasures()
        for record in self._node.scan():
            if record.seq <= erased.get(record.user, 0) and record.hidden is Hidden.READABLE:
                yield f"event {record.seq} of {record.user.openid} is still readable"
        tags = self.history.erased_tags()
        root = self._node.disk.root
        keys = Keyring(segments.keyring_path(root), MASTER)
        newest = snapshot.newest(segments.log_directory(root), keys).snapshot
        if newest is not None:
            for state in loading.states(newest, keys).values():
                for text in words_in(state, lambda text: not tags.isdisjoint(_tags(text))):
                    yield f"text of an erased user is still in a snapshot: {text[:60]}"


def _tags(text: str) -> list[str]:
    return TAG.findall(text)


def _others(text: str, user: str) -> list[str]:
    """Return the other users whose answers are in a text."""
    return sorted({name for _, name, _, _ in ANSWERED.findall(text)} - {user})
