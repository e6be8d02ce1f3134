"""Faults built into the daemon on purpose: each must be found within the gate's seeds.

A simulation that finds nothing is worth as much as the faults that it would have found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tests.simulation.disk import SimulatedDisk
from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import reply_window
from wxgptd.domain.model.events import UserErased
from wxgptd.domain.model.reply_window import LAST_NUMBER, Settled
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.store import LogStore
from wxgptd.service.answers.recovery import Recovery
from wxgptd.service.state.journal import Journal

Patch = tuple[Any, str, Any]


def _acknowledge_early() -> Iterator[Patch]:
    """Acknowledge an append at once, not when it is durable."""
    original = LogStore.append

    def append(self: LogStore, *args: Any) -> Deferred[int]:
        original(self, *args).addErrback(lambda _: None)
        assert self._writer is not None
        return succeed(self._writer.next_seq - 1)

    yield LogStore, "append", append


def _no_sync() -> Iterator[Patch]:
    """Write, but never sync."""
    yield SimulatedDisk, "sync", lambda self, descriptor: self._begin()


def _act_before_durable() -> Iterator[Patch]:
    """Call models and reply at once, not when that is durable."""
    yield Journal, "committed", lambda self: succeed(None)


def _evolve_after_act() -> Iterator[Patch]:
    """Run the effects of an event before the new state is in place."""
    original = Journal._run_effects

    def run_effects(self: Journal) -> None:
        entries = list(self._pending)
        if not self._running_effects:
            for entry in entries:
                self._hydrated[entry.user] = entry.before
        original(self)
        for entry in entries:
            if isinstance(entry.events[-1], UserErased):
                self._hydrated.pop(entry.user, None)
            else:
                self._hydrated[entry.user] = entry.state

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
                self._hydrated[user] = state._replace(windows=windows)
        return original(self, user, command)

    yield Journal, "record", record


def _recover_twice() -> Iterator[Patch]:
    """Ask every question that a stop left unanswered twice."""
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

    original = Keyring.write
    yield Keyring, "overwrite", overwrite
    yield Keyring, "write", lambda self, without=(): original(self)


MUTANTS: dict[str, Callable[[], Iterator[Patch]]] = {
    "acknowledge early": _acknowledge_early,
    "no sync": _no_sync,
    "act before durable": _act_before_durable,
    "evolve after act": _evolve_after_act,
    "forget the settled window": _forget_the_settled_window,
    "recover twice": _recover_twice,
    "count attempts by number only": _count_attempts_by_number_only,
    "keep the key": _keep_the_key,
}


@contextlib.contextmanager
def built_in(name: str) -> Iterator[None]:
    """Build a fault into the daemon; nothing is built in for an empty name."""
    originals: list[Patch] = []
    try:
        for owner, attribute, mutated in MUTANTS[name]() if name else ():
            originals.append((owner, attribute, getattr(owner, attribute)))
            setattr(owner, attribute, mutated)
        yield
    finally:
        for owner, attribute, original in originals:
            setattr(owner, attribute, original)
