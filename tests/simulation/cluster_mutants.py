"""Deliberate bugs of a cluster, each of which must be caught within the gate's seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.simulation.mutants import Mutants, Patch, recover_twice
from tests.simulation.shared_log import SharedLog
from wxgptd.eventlog.writer import Writer
from wxgptd.service.cluster.following import Following
from wxgptd.service.cluster.standing import Standing


def _acknowledge_before_the_quorum() -> Iterator[Patch]:
    """Write a group to the local log, acknowledge it, and replicate it only then."""
    commit, replicate = Writer._commit, Writer._replicate

    def late(self: Writer, group: Any) -> None:
        leading = self._leading if group.events and not group.payload else None
        if leading is None:
            commit(self, group)
            return
        from wxgptd.eventlog import codec

        seq, self._leading = self._written_seq, None
        commit(self, group)
        written, self._written_seq = self._written_seq, seq
        payload = codec.join(group.events, group.packed)
        self._leading = replicate(self, leading, group, payload)
        self._written_seq = written

    yield Writer, "_commit", late


def _no_fence() -> Iterator[Patch]:
    """Let the servers accept an append that does not follow the last message."""

    def append(self: SharedLog, data: bytes, identifier: str, after: int) -> int:
        if (place := self.places.get(identifier)) is None:
            self.stored.append(data)
            place = self.places[identifier] = len(self.stored)
        return place

    yield SharedLog, "append", append


def _begin_before_fetching() -> Iterator[Patch]:
    """Take over without fetching what is missing."""
    original = Standing._take_over

    async def take_over(self: Standing) -> None:
        following = self._following
        catch_up, expect = following.catch_up, following.expect

        async def nothing() -> None:
            following.place = (await self._replica.bounds()).last

        following.catch_up, following.expect = nothing, lambda _: None  # type: ignore[method-assign]
        try:
            await original(self)
        finally:
            following.catch_up, following.expect = catch_up, expect  # type: ignore[method-assign]

    yield Standing, "_take_over", take_over


def _keep_the_keys_on_the_servers() -> Iterator[Patch]:
    """Erase a user's key on the nodes only."""
    from tests.simulation.shared_log import SimulatedReplica

    original = SimulatedReplica.erase
    yield SimulatedReplica, "erase", lambda self, references: original(self, ())


def _never_apply() -> Iterator[Patch]:
    """Write the groups of the leader to the log, but do not apply their events."""
    from wxgptd.service.state.journal import Journal

    yield Journal, "apply", lambda self, user, event, before: before
    yield Following, "seq", property(lambda self: self._store.figures().last_seq)


LOST = {
    "nothing is lost", "equal logs", "fold", "no damage", "LogDamaged", "Inconsistent", "one leader",
}  # fmt: skip

MUTANTS: Mutants = {
    "acknowledge before the quorum": (_acknowledge_before_the_quorum, LOST),
    "no fence": (_no_fence, LOST),
    "begin before fetching": (_begin_before_fetching, LOST),
    "recover twice": (recover_twice, {"model calls"}),
    "keep the keys on the servers": (_keep_the_keys_on_the_servers, {"erasure"}),
    "never apply": (_never_apply, LOST | {"every question ends", "every message is answered"}),
}
