"""Turn a damaged log into a readable one.

Every intact frame is kept, wherever it is. Everything else is lost, as are the events that depend
on it: an event that can no longer be applied (such as the answer to a lost question) is set aside.
The remaining events are renumbered, since a log has no gaps. Users whose keys are lost are marked
as erased.

If there is an intact snapshot, the states continue from it: it has everything up to its event, no
matter what is left of the segments. Of the events before it, the unbroken run that leads up to it
stays in the log.

Nothing is changed until the new log is complete and durable; the old one is then moved aside.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wxgptd.domain.evolve import evolve, session_of
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, Inconsistent, UserState
from wxgptd.errors import WxgptError
from wxgptd.eventlog import (
    codec,
    formats,
    framing,
    loading,
    log_writing,
    reader,
    recovery,
    segments,
    snapshot,
    verifying,
)
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.room import first_used, used_bytes
from wxgptd.ports.record import AnyRecord, Hidden, Recorded
from wxgptd.wording import say

_NO_HEADER = "its header is invalid"

PutAside = Callable[[Recorded, str], None]
"""Called with an event that is intact but cannot be kept, and the reason."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a segment, possibly all of it, without a valid frame."""

    segment: str
    offset: int
    size: int
    why: str


@dataclass(slots=True)
class Plan:
    """What a repair would save and lose.

    `refused` lists what is wrong, one line each; `lost_seqs` lists the ranges of event numbers that
    no frame has; `aside` counts events that are intact but cannot follow those kept before them,
    `keyless` counts users whose keys are lost. `torn` is the size of the tail that a crash left:
    none of its events was ever acknowledged. `plain` is whether the old log has users' messages in
    the clear. `begins_at` is the first event of the new log; the events before it are in a
    snapshot.
    """

    refused: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    lost_seqs: list[tuple[int, int]] = field(default_factory=list)
    kept: int = 0
    aside: int = 0
    keyless: int = 0
    torn: int = 0
    plain: bool = False
    begins_at: int = 1

    @property
    def needed(self) -> bool:
        """Whether the log needs a repair."""
        return bool(self.refused or self.gaps or self.lost_seqs or self.aside or self.keyless)


class NothingToRecover(WxgptError):
    """no event in this log can be saved"""

    exit_status = 5


def plan(directory: Path, keys: Keyring) -> Plan:
    """Return what a repair of the log in `directory` would save and lose. Changes nothing."""
    salvage = _Salvage(directory, keys, lambda _record, _why: None)
    for _ in salvage.entries():
        salvage.plan.kept += 1
    return salvage.plan


def repair(directory: Path, aside: Path, keys: Keyring, segment_bytes: int) -> Plan:
    """Replace the log in `directory` with a readable one; move the old one to `aside`.

    Beside the old segments, `aside` gets `lost.ndjson`: the events that are intact but could not
    be kept, without their personal fields. The caller holds the state directory's lock.

    Raises:
        NothingToRecover: no event can be kept.
    """
    fresh = directory.with_name(f"{directory.name}.repairing")
    if fresh.exists():
        shutil.rmtree(fresh)  # left by an interrupted repair
    segments.make_private_directory(fresh)
    lost: list[str] = []

    def put_aside(record: Recorded, why: str) -> None:
        fields = {
            "seq": record.seq,
            "account": record.user.account,
            "user": record.user.openid,
            "why": why,
            "event": repr(record.event),
        }
        lost.append(json.dumps(fields, ensure_ascii=False))

    salvage = _Salvage(directory, keys, put_aside)
    result = salvage.plan
    result.kept = log_writing.write(fresh, salvage.entries(), segment_bytes, result.begins_at)
    if not result.kept and salvage.snapshot is None:
        shutil.rmtree(fresh)
        raise NothingToRecover(say("no event in {directory} can be saved", directory=directory))
    if salvage.snapshot is not None:
        name = segments.snapshot_name(salvage.snapshot.last_seq)
        segments.write_durably(fresh / name, (directory / name).read_bytes())
        segments.sync_directory(fresh)
    if salvage.makes_keys:
        keys.write()
    if lost:
        segments.write_durably(directory / "lost.ndjson", "\n".join([*lost, ""]).encode())
    recovery.replace(directory, fresh, aside)
    return result


class _Salvage:
    """What can be saved from a log, renumbered; `plan` records what cannot."""

    def __init__(self, directory: Path, keys: Keyring, put_aside: PutAside) -> None:
        self._directory = directory
        self._keys = keys
        self._decoder = reader.Decoder(keys)
        self._put_aside = put_aside
        self._states: dict[str, UserState] = {}
        self._unreadable: set[str] = set()
        self._last_at = 0.0
        self.plan = Plan()
        self.makes_keys = False
        self.snapshot, _ = snapshot.newest(directory, keys)
        if self.snapshot is not None:
            self.plan.begins_at = self._first_of_run(self.snapshot.last_seq)
            if _history_is_inconsistent(directory, keys):
                # The events before the snapshot are inconsistent, and no state depends on them.
                self.plan.begins_at = self.snapshot.last_seq + 1
            self._states = loading.states(self.snapshot, keys)
            # The states of these users in the snapshot can no longer be read.
            self._unreadable = {
                reference for reference in self._states if keys.find(reference) is None
            }

    def _first_of_run(self, last_seq: int) -> int:
        """Return the first event of the unbroken run of intact events up to `last_seq`."""
        first, due = last_seq + 1, 0
        for seq, _ in self._intact_events(Plan(), 1):
            if seq > last_seq:
                break
            if seq != due:
                first = seq
            due = seq + 1
        return first if due == last_seq + 1 else last_seq + 1

    def entries(self) -> Iterator[codec.Entry]:
        """Yield the entries that can be kept."""
        self.plan.refused.extend(verifying.verify(self._directory, self._keys).lines)
        if not self.plan.refused:
            self.plan.refused.extend(_rejections(self._directory, self._keys))
        erased: set[str] = set()
        covered = self.snapshot.last_seq if self.snapshot is not None else 0
        for seq, entry in self._intact_events(self.plan, self.plan.begins_at):
            if seq <= covered:
                yield entry
                continue
            record = codec.require(codec.decode(seq, entry, None))
            reference = entry[3]
            state = self._states.get(reference, EMPTY)
            try:
                self._states[reference] = (
                    state._replace(version=state.version + 1)
                    if reference in self._unreadable
                    else evolve(state, record.event)
                )
            except (Inconsistent, TypeError, ValueError, LookupError, AttributeError) as error:
                self.plan.aside += 1
                self._put_aside(record, str(error))
                continue
            if isinstance(record.event, e.UserErased):
                erased.add(reference)
            self._last_at = record.event.at
            key = self._keys.find(reference)
            session = record.session or session_of(self._states[reference], record.event)
            yield codec.moved(entry, state.version, session, key)
        yield from self._erasures(erased)

    def _erasures(self, erased: set[str]) -> Iterator[codec.Entry]:
        for reference, state in self._states.items():
            if reference not in erased and self._keys.find(reference) is None:
                self.plan.keyless += 1
                yield codec.erasure(reference, state.version, self._last_at)

    def _intact_events(self, plan: Plan, due: int) -> Iterator[tuple[int, codec.Entry]]:
        """Yield the events of all intact frames in order, starting with number `due`.

        Record in `plan` what is damaged; events before `due` do not count as lost.
        """
        first = due
        paths = segments.list_segments(self._directory)
        for path in paths:
            with reader.mapped(path) as data:
                header = self._header(path, data, plan, due, last=path == paths[-1])
                if header is None:
                    continue
                for frame in _frames(path, data, header, plan, last=path == paths[-1]):
                    if frame.first_seq > due:
                        plan.lost_seqs.append((due, frame.first_seq - 1))
                    if frame.first_seq + frame.count <= first:
                        continue
                    for seq, entry in self._frame_events(path, header, frame, plan):
                        if seq >= due:  # overlapping segments repeat some
                            yield seq, entry
                    due = max(due, frame.first_seq + frame.count)

    def _header(
        self, path: Path, data: memoryview, plan: Plan, due: int, *, last: bool
    ) -> framing.Header | None:
        header = framing.unpack_header(data)
        if header is not None:
            if not framing.PLAIN_VERSION <= header.version <= framing.FORMAT_VERSION:
                reader.read_header(path, data, last=False)  # raises: a newer format is not damage
            return header
        if len(data) <= framing.HEADER_BYTES:
            if last:
                plan.torn = used_bytes(data)
            else:
                plan.gaps.append(Gap(path.name, 0, len(data), _NO_HEADER))
            return None
        key = framing.key_of(data)
        if key is None:
            plan.gaps.append(Gap(path.name, 0, len(data), _NO_HEADER))
            return None
        plan.gaps.append(Gap(path.name, 0, framing.HEADER_BYTES, _NO_HEADER))
        return self._guess_format(path, data, framing.Header(due, 0.0, key))

    def _guess_format(self, path: Path, data: memoryview, header: framing.Header) -> framing.Header:
        """Return `header` with a format version in which every frame can be read."""
        for version in (framing.FORMAT_VERSION, framing.UNBOUND_VERSION):
            guess, decoder = header._replace(version=version), reader.Decoder(self._keys)
            try:
                for frame in _frames(path, data, guess, Plan(), last=True):
                    if not formats.is_plain(reader.raw_entries_of(path, frame)):
                        for _ in decoder.records(path, guess, frame):
                            pass
            except reader.LogDamaged:
                continue
            return guess
        return header

    def _frame_events(
        self, path: Path, header: framing.Header, frame: framing.Frame, plan: Plan
    ) -> list[tuple[int, codec.Entry]]:
        try:
            if formats.is_plain(reader.raw_entries_of(path, frame)):
                header = header._replace(version=framing.PLAIN_VERSION)
            records = list(self._decoder.records(path, header, frame))  # checks that they decrypt
            if header.version == framing.PLAIN_VERSION:
                plan.plain = True
                return [(record.seq, self._encrypt(codec.require(record))) for record in records]
            entries = reader.entries_of(path, header, frame)
            return [
                (record.seq, self._upgraded(entry, record))
                for entry, record in zip(entries, records, strict=True)
            ]
        except reader.LogDamaged as error:
            size = frame.end - error.offset
            plan.gaps.append(Gap(path.name, error.offset, size, error.why))
            return []

    def _encrypt(self, record: Recorded) -> codec.Entry:
        """Return the entry for an event from before users had keys."""
        self.makes_keys = True
        assert record.hidden is Hidden.READABLE
        key = self._keys.of(record.user) or self._keys.make(record.user)
        return codec.encode(key, record.previous, record.session, record.event)

    def _upgraded(self, entry: codec.Entry, record: AnyRecord) -> codec.Entry:
        """Return an entry of an earlier format converted to the current one."""
        _, _, _, reference, previous, *_ = entry
        return codec.moved(entry, previous, record.session, self._keys.find(reference))


def _frames(
    path: Path, data: memoryview, header: framing.Header, plan: Plan, *, last: bool
) -> Iterator[framing.Frame]:
    """Yield the intact frames of a segment, whatever is between them."""
    position, used = framing.HEADER_BYTES, used_bytes(data)
    while position < used:
        part = framing.unpack(data, header.key, position)
        match part:
            case framing.Frame():
                yield part
                position = part.end
            case framing.Sealed():
                position = part.end
            case None:
                after = framing.next_valid(data, header.key, position + 1)
                if after is None and last:
                    plan.torn = used - first_used(data, position)
                    return
                end = used if after is None else after
                plan.gaps.append(Gap(path.name, position, end - position, "no valid frame"))
                position = end


def _rejections(directory: Path, keys: Keyring) -> Iterator[str]:
    """Yield what startup or reading a state rejects even though every frame is valid."""
    try:
        if not recovery.is_plain(directory):
            loading.require_states(loading.load(directory, keys, {}), keys)
    except WxgptError as error:
        yield str(error)


def _history_is_inconsistent(directory: Path, keys: Keyring) -> bool:
    """Return whether any user's events are inconsistent, even those startup does not read."""
    try:
        loading.require_states(loading.load(directory, keys, {}, everything=True), keys)
    except Inconsistent:
        return True
    except WxgptError:
        return False
    return False
