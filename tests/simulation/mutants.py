"""Mutants: deliberate bugs, each of which must be caught within the gate's seeds.

A clean simulation proves only what it could have caught.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tests.simulation.disk import SimulatedDisk
from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide import limits, offering
from wxgptd.domain.model import reply_window
from wxgptd.domain.model.events import ReplyOffered, UserErased
from wxgptd.domain.model.reply_window import LAST_NUMBER, Settled
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import Standing
from wxgptd.domain.replies import wording
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.store import LogStore
from wxgptd.ports.wechat import Ignore
from wxgptd.service.answers.recovery import Recovery
from wxgptd.service.answers.slots import Slots
from wxgptd.service.conversation.attempts import Attempts
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.projections import Spending
from wxgptd.service.state.timeouts import DeliberateTimeouts

Patch = tuple[Any, str, Any]


def _acknowledge_early() -> Iterator[Patch]:
    """Acknowledge an append before it is durable."""
    original = LogStore.append

    def append(self: LogStore, *args: Any) -> Deferred[int]:
        original(self, *args).addErrback(lambda _: None)
        assert self._writer is not None
        return succeed(self._writer.next_seq - 1)

    yield LogStore, "append", append


def _no_sync() -> Iterator[Patch]:
    """Write, but never sync."""
    yield SimulatedDisk, "sync", lambda self, descriptor: self._begin()


def _no_sync_of_directories() -> Iterator[Patch]:
    """Create segments and snapshots, but never sync the directory."""
    yield SimulatedDisk, "sync_directory", lambda self, descriptor: self._begin()


def _act_before_durable() -> Iterator[Patch]:
    """Call models and reply before the reason for it is durable."""
    yield Journal, "committed", lambda self: succeed(None)


def _evolve_after_act() -> Iterator[Patch]:
    """Run the effects of an event before the new state is in place."""
    original = Journal._run_effects

    def run_effects(self: Journal) -> None:
        entries = list(self._pending)
        if not self._running_effects:
            for entry in entries:
                self._young[entry.user] = entry.before
        original(self)
        for entry in entries:
            if isinstance(entry.events[-1], UserErased):
                self._young.pop(entry.user, None)
            else:
                self._young[entry.user] = entry.state

    yield Journal, "_run_effects", run_effects


def _forget_the_settled_window() -> Iterator[Patch]:
    """Treat another attempt of a message that was answered as a new message."""
    original = Journal.record

    def record(self: Journal, user: Any, command: Any) -> Any:
        if isinstance(command, c.Receive):
            state = self.state(user)
            if isinstance(state.windows.get(command.delivery), Settled):
                windows = {
                    key: window for key, window in state.windows.items() if key != command.delivery
                }
                self._young[user] = state._replace(windows=windows)
        return original(self, user, command)

    yield Journal, "record", record


def recover_twice() -> Iterator[Patch]:
    """At a restart, ask each unanswered question twice."""
    original = Recovery._recover

    def recover(self: Recovery, *args: Any) -> None:
        original(self, *args)
        original(self, *args)

    yield Recovery, "_recover", recover


def _count_attempts_by_number_only() -> Iterator[Patch]:
    """Wait for a third attempt, even if the first or the second never arrived."""
    yield reply_window, "is_last", lambda window, at: window.attempts >= LAST_NUMBER


def _keep_the_key() -> Iterator[Patch]:
    """Erase a user in memory, but leave the key on disk."""

    def overwrite(self: Keyring, descriptor: int, references: Iterable[str]) -> None:
        pass

    yield Keyring, "overwrite", overwrite
    yield Keyring, "_live", lambda self, deleted, original=Keyring._live: original(self, ())


def _never_recover() -> Iterator[Patch]:
    """At a restart, ask no question again."""
    yield Recovery, "begin", lambda self: None


def _answer_nothing() -> Iterator[Patch]:
    """Leave every message to others."""
    yield Attempts, "answer", lambda self, attempt: succeed(Ignore())


def _lose_a_sentence() -> Iterator[Patch]:
    """Leave a sentence out of a reply."""
    original = wording.render

    def render(*args: Any, **kwargs: Any) -> str:
        return re.sub(r"〔[^〕]*〕第001句[^。]*。", "", original(*args, **kwargs))

    yield wording, "render", render


def _offer_from_the_start() -> Iterator[Patch]:
    """Begin each part of an answer at its beginning."""
    original = offering.offer

    def offer(state: Any, command: Any) -> Any:
        return tuple(
            replace(event, start=0) if isinstance(event, ReplyOffered) else event
            for event in original(state, command)
        )

    yield offering, "offer", offer


def _answer_another_user() -> Iterator[Patch]:
    """Show each user the answer that another was shown last."""
    original = wording.render
    last: list[str] = []

    def render(*args: Any, **kwargs: Any) -> str:
        text = original(*args, **kwargs)
        shown = last[-1] if last else text
        if "〔" in text:
            last[:] = [text]
        return shown

    yield wording, "render", render


def _forget_limits() -> Iterator[Patch]:
    """Accept every question."""
    yield limits, "limit_on_question", lambda state, command, silent=True: None


def _forget_the_budget() -> Iterator[Patch]:
    """Accept questions after the day's budget is used up."""
    yield Spending, "without_budget", lambda self: frozenset()


def _forget_the_minute() -> Iterator[Patch]:
    """Accept any number of messages per minute."""
    yield limits, "_costs", lambda delivery, window: False


def _time_out_at_will() -> Iterator[Patch]:
    """Let WeChat time out however often it has already."""
    yield DeliberateTimeouts, "spend", lambda self, user, delivery, now: True


def _answer_the_blocked() -> Iterator[Patch]:
    """Accept messages of users whom the operator has blocked."""
    yield UserState, "standing_at", lambda self, at: Standing.DEFAULT


def _leak_a_slot() -> Iterator[Patch]:
    """Do not release the slot of an answer."""
    yield Slots, "give", lambda self, assistant: self.fill()


def _remember_the_erased() -> Iterator[Patch]:
    """Keep the state of erased users in memory."""
    original = Journal.record
    kept: list[Any] = []

    def record(self: Journal, user: Any, command: Any) -> Any:
        entry = original(self, user, command)
        if entry.events and isinstance(entry.events[-1], UserErased):
            kept.append(entry.before)
            self.kept = kept  # type: ignore[attr-defined]
        return entry

    yield Journal, "record", record


LOST = {"nothing is lost", "fold", "no damage", "LogDamaged", "Inconsistent"}
"""What is violated by a log that lacks something, or has it twice."""

Mutants = dict[str, tuple[Callable[[], Iterator[Patch]], set[str]]]

MUTANTS: Mutants = {
    "acknowledge early": (_acknowledge_early, LOST),
    "no sync": (_no_sync, LOST),
    "no sync of directories": (_no_sync_of_directories, LOST),
    "act before durable": (_act_before_durable, {"durable before act"}),
    "evolve after act": (_evolve_after_act, LOST),
    "forget the settled window": (_forget_the_settled_window, LOST),
    "recover twice": (recover_twice, {"model calls"}),
    "never recover": (_never_recover, {"every question ends", "every message is answered"}),
    "count attempts by number only": (
        _count_attempts_by_number_only, {"every message is answered"},
    ),
    "answer nothing": (_answer_nothing, {"every message is answered"}),
    "lose a sentence": (_lose_a_sentence, {"paging"}),
    "offer from the start": (_offer_from_the_start, {"paging"}),
    "answer another user": (_answer_another_user, {"isolation"}),
    "forget limits": (_forget_limits, {"limits"}),
    "forget the budget": (_forget_the_budget, {"limits"}),
    "forget the minute": (_forget_the_minute, {"limits"}),
    "time out at will": (_time_out_at_will, {"limits"}),
    "answer the blocked": (_answer_the_blocked, {"limits"}),
    "leak a slot": (_leak_a_slot, {"every question ends"}),
    "keep the key": (_keep_the_key, {"fold", "erasure"}),
    "remember the erased": (_remember_the_erased, {"erasure"}),
}  # fmt: skip
"""Each mutant, and the invariants of which one must catch it."""


@contextlib.contextmanager
def applied(name: str, mutants: Mutants = MUTANTS) -> Iterator[None]:
    """Apply one of the `mutants`; an empty name applies none."""
    originals: list[Patch] = []
    try:
        for owner, attribute, mutated in mutants[name][0]() if name else ():
            originals.append((owner, attribute, getattr(owner, attribute)))
            setattr(owner, attribute, mutated)
        yield
    finally:
        for owner, attribute, original in originals:
            setattr(owner, attribute, original)
