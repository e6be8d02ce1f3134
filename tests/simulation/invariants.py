"""What must be true of every run, whatever happens in it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.simulation.models import GOOD, TAG, Models
from tests.simulation.network import Message, Network
from tests.simulation.node import MASTER, Acknowledged, Node
from tests.simulation.people import Person
from tests.support.words_in import words_in
from wxgptd.domain.evolve import fold
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import DeliveryKey, User
from wxgptd.domain.replies.texts import Texts
from wxgptd.eventlog import loading, segments, snapshot
from wxgptd.eventlog.keyring import Keyring
from wxgptd.ports.record import Hidden

WINDOW_S = 15.0
STORAGE_FULL = Texts().storage_full
UNTIL_SERVED_S = 16.0
"""After a crash: the daemon is away for nine seconds at most, then catches up."""

ANSWERED = re.compile(r"〔((\w+)#\d+)〕")
"""How an answer names its question, and its user."""


class Violation(AssertionError):
    """An invariant does not hold."""


class Invariants:
    """Checks a run: after each step, after each start, and at its end."""

    def __init__(self, node: Node, network: Network, models: Models, people: list[Person]) -> None:
        self._node = node
        self._network = network
        self._models = models
        self._people = people
        self.troubles: list[tuple[float, float]] = []
        """From when until when the daemon was away, or its disk or its clock was at fault."""
        self._early_calls: list[str] = []
        self._asked: dict[DeliveryKey, str] = {}
        """The tag of each question in the log, acknowledged or found there by a start."""
        self._cut_off: Counter[str] = Counter()
        """How often each question was in flight when the process ended."""
        self._checked = 0
        self._process_ends: list[float] = []
        self._ended: set[DeliveryKey] = set()
        node.on_acknowledged = self._acknowledged
        node.on_start = self.after_a_start
        node.on_crash = self._crashed
        models.on_call = self._called

    # While it runs.

    def _acknowledged(self, acknowledged: Acknowledged) -> None:
        for event in acknowledged.events:
            if isinstance(event, e.QuestionAsked):
                self._note(event)
            elif isinstance(event, e.AnswerCompleted | e.AnswerFailed):
                self._ended.add(event.question)

    def _note(self, asked: e.QuestionAsked) -> None:
        if found := TAG.findall(asked.text):
            self._asked[asked.delivery] = found[0]

    def _called(self, tag: str) -> None:
        if tag not in self._asked.values():
            self._early_calls.append(tag)

    def _crashed(self) -> None:
        now = self._node.world_clock.seconds()
        self._process_ends.append(now)
        self.troubles.append((now, now + UNTIL_SERVED_S))
        for question, tag in self._asked.items():
            if question not in self._ended and tag in self._models.calls:
                self._cut_off[tag] += 1

    def after_a_step(self) -> None:
        """Check what happened in the last step.

        Raises:
            Violation: an invariant does not hold.
        """
        if self._early_calls:
            raise Violation(
                f"the model was called for {self._early_calls[0]} before that was durable"
            )
        bound = self._node.config.assistant["chatgpt"].max_running
        if bound and self._node.model.running > bound + 1:  # one more to probe the server
            raise Violation(f"{self._node.model.running} model calls at once, at most {bound}")
        self._raise_first(self._no_user_reads_another())

    # After each start, and at the end.

    def after_a_start(self) -> None:
        """Check what a start found: all that was acknowledged, and nothing different.

        Raises:
            Violation: an invariant does not hold.
        """
        if self._node.damages:
            raise Violation(f"a user's events are inconsistent: {self._node.damages[0]}")
        records = {record.seq: record for record in self._node.scan()}
        for record in records.values():
            if isinstance(record.event, e.QuestionAsked):
                self._note(record.event)
        first = min(records, default=0)  # retention has dropped what came before
        erased_at = {
            record.user: record.seq
            for record in records.values()
            if isinstance(record.event, e.UserErased)
        }
        for acknowledged in self._node.acknowledged:
            begin = acknowledged.seq - len(acknowledged.events) + 1
            for number, event in enumerate(acknowledged.events, begin):
                record = records.get(number)
                if record is None and number > first:
                    raise Violation(f"event {number} was acknowledged and is not in the log")
                if record is not None and record.hidden is Hidden.ERASED:
                    if erased_at.get(record.user, 0) < number:
                        name = acknowledged.user.openid
                        raise Violation(f"event {number} of {name} cannot be read")
                elif record is not None and record.event != event:
                    raise Violation(f"event {number} is {record.event}, acknowledged was {event}")

    def live_state_is_the_fold(self) -> None:
        """Check that each user's live state is the fold of that user's events.

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
        for user, state in journal.hydrated():
            events = by_user[user]
            if state.version != len(events):
                if not self._node.config.log.keep:
                    raise Violation(
                        f"{user.openid} has {len(events)} events and {state.version} live"
                    )
                continue  # retention has dropped the first
            since = max(journal._keep_since, state.history_since)
            # How far back the history goes depends on when it was trimmed.
            folded, live = (
                each.trimmed(since)._replace(history_since=0.0) for each in (fold(events), state)
            )
            if folded != live:
                raise Violation(f"the state of {user.openid} is not the fold of its events")

    # At the end.

    def before_the_last_stop(self) -> None:
        """Check what the process has in memory.

        Raises:
            Violation: an invariant does not hold.
        """
        erased = set(self._erased_tags())
        for text in words_in(
            self._node.service, lambda text: bool(erased & set(TAG.findall(text)))
        ):
            raise Violation(f"a user was erased, and this is still in memory: {text[:60]}")

    def at_the_end(self) -> None:
        """Check the whole run, after a last stop and start.

        Raises:
            Violation: an invariant does not hold.
        """
        self.after_a_step()
        self.live_state_is_the_fold()
        for check in (
            self._one_answer_per_question,
            self._no_call_too_many,
            self._every_message_got_a_reply,
            self._one_reply_per_message,
            self._paging_is_complete,
            self._limits_hold,
            self._erased_is_erased,
        ):
            self._raise_first(check())

    @staticmethod
    def _raise_first(violations: Iterator[str]) -> None:
        for violation in violations:
            raise Violation(violation)

    def _one_answer_per_question(self) -> Iterator[str]:
        outcomes: Counter[tuple[User, DeliveryKey]] = Counter()
        for record in self._node.scan():
            if isinstance(record.event, e.AnswerCompleted | e.AnswerFailed):
                outcomes[record.user, record.event.question] += 1
        for (user, question), count in outcomes.items():
            if count > 1:
                yield f"{count} answers of {user.openid} to {question}"

    def _no_call_too_many(self) -> Iterator[str]:
        asked = Counter(self._asked.values())
        for tag, ways in self._models.calls.items():
            due = asked[tag] + self._cut_off[tag]
            if all(way in GOOD for way in ways) and len(ways) > due:
                yield f"{len(ways)} model calls for {tag}, {due} were due"

    def _every_message_got_a_reply(self) -> Iterator[str]:
        for message in self._network.messages:
            if message.failure:
                yield f"delivering {message.text!r} failed: {message.failure}"
            if message.delivery is None or not message.delivery.fault:
                continue
            if message.ways[-1:] != ["arrives"] or self._in_trouble(message):
                continue
            yield f"{message.user} got WeChat's error text for {message.text!r} at {message.at:.2f}"

    def _in_trouble(self, message: Message) -> bool:
        ends = message.at + WINDOW_S + 1
        return any(begin < ends and end > message.at for begin, end in self.troubles)

    def _one_reply_per_message(self) -> Iterator[str]:
        # A message that is left to others leaves no trace, so its next attempt may be answered.
        for message in self._network.messages:
            replies = self._remembered(message)
            texts = list(dict.fromkeys(text for _, text in replies if text))
            if len(texts) > 1:
                yield f"{message.user} could read different replies to {message.text!r}: {texts}"
            for at, text in replies:
                before = [when for when, earlier in replies if when < at and earlier]
                if not text and before and not self._is_over(message, before[0], at):
                    yield f"the reply to {message.text!r} of {message.user} was withdrawn"

    def _remembered(self, message: Message) -> list[tuple[float, str]]:
        """Return the replies to a message; the process forgets one about a full disk when it ends."""
        newest = max((at for at, _ in message.replies), default=0.0)
        return [
            (at, text)
            for at, text in message.replies
            if text != STORAGE_FULL or not any(at < end < newest for end in self._process_ends)
        ]

    def _is_over(self, message: Message, begin: float, end: float) -> bool:
        """Return whether WeChat has stopped waiting, or the sender was erased meanwhile."""
        erased = any(
            erasure.openid == message.user and begin <= erasure.at <= end
            for erasure in self._node.erasures
        )
        return erased or end >= message.at + WINDOW_S

    def _no_user_reads_another(self) -> Iterator[str]:
        for message in self._network.messages[self._checked :]:
            for _, text in message.replies:
                if others := {user for _, user in ANSWERED.findall(text)} - {message.user}:
                    yield f"{message.user} was sent what {others} asked for"
        # Those of the last half minute may get further replies.
        self._checked = max(self._checked, len(self._network.messages) - 40)
        for person in self._people:
            for page in person.pages:
                if others := {user for _, user in ANSWERED.findall(page)} - {person.name}:
                    yield f"{person.name} could read what {others} asked for"
            person.pages.clear()

    def _paging_is_complete(self) -> Iterator[str]:
        offered: dict[tuple[User, DeliveryKey], int] = {}
        for record in self._node.scan():
            event = record.event
            if isinstance(event, e.AnswerRestarted):
                offered.pop((record.user, event.question), None)
            if isinstance(event, e.ReplyOffered) and event.question and event.end > event.start:
                key = record.user, event.question
                due = offered.get(key, 0)
                own = event.delivery == event.question  # repeats an answer that is all offered
                dropped = key not in offered and bool(self._node.config.log.keep)
                if event.start != due and not dropped and not (own and event.start == 0):
                    yield (
                        f"{record.user.openid} was offered {event.start} to {event.end} of "
                        f"{event.question}, where {due} was next"
                    )
                offered[key] = event.end

    def _limits_hold(self) -> Iterator[str]:
        limit = self._node.config.limits.questions_per_day
        if self._node.config.log.keep:
            return  # less than a day, so questions of today are dropped
        asked: Counter[User] = Counter()
        previous: dict[User, int] = {}
        for acknowledged in self._node.acknowledged:
            user, start = acknowledged.user, acknowledged.start
            begin, previous[user] = previous.get(user, 0), start
            # What an erased user asked is remembered until the process ends.
            if any(begin <= erasure.start < start for erasure in self._node.erasures_of(user)):
                asked[user] = 0
            kinds = [type(event) for event in acknowledged.events]
            if e.UserErased in kinds and e.UserUnsubscribed not in kinds:
                asked[user] = 0  # the operator also lifts limits
            asked[user] += kinds.count(e.QuestionAsked)
            if limit and asked[user] > limit:
                yield f"{user.openid} asked {asked[user]} questions, the limit is {limit}"

    # Erasure.

    def _erasures(self) -> dict[User, int]:
        """Return the number of each user's last acknowledged erasure."""
        return {
            acknowledged.user: acknowledged.seq
            for acknowledged in self._node.acknowledged
            if isinstance(acknowledged.events[-1], e.UserErased)
        }

    def _erased_tags(self) -> Iterator[str]:
        """Yield the tags of questions that were erased, and not asked again."""
        erased, again = self._erasures(), set()
        for gone in (False, True):
            for acknowledged in self._node.acknowledged:
                for event in acknowledged.events:
                    if not isinstance(event, e.QuestionAsked):
                        continue
                    if acknowledged.seq > erased.get(acknowledged.user, 0):
                        again |= set(TAG.findall(event.text))
                    elif gone:
                        yield from set(TAG.findall(event.text)) - again

    def _erased_is_erased(self) -> Iterator[str]:
        erased = self._erasures()
        for record in self._node.scan():
            if record.seq <= erased.get(record.user, 0) and record.hidden is Hidden.READABLE:
                yield f"event {record.seq} of {record.user.openid} is still readable"
        tags = set(self._erased_tags())
        root = self._node.disk.root
        keys = Keyring(segments.keyring_path(root), MASTER)
        newest = snapshot.newest(segments.log_directory(root), keys).snapshot
        if newest is not None:
            for state in loading.states(newest, keys).values():
                for text in words_in(state, lambda text: bool(tags & set(TAG.findall(text)))):
                    yield f"a user was erased, and this is still in the snapshot: {text[:60]}"
