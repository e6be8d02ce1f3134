"""Make a log that can be read again of one that is damaged.

Every frame that is whole is kept, wherever it lies. What was between them is lost, and so is what
rests on that: an event that cannot follow any more (an answer to a question that is gone) is put
aside. What remains is numbered anew, since a log has no gaps.

Nothing is changed before the new log is complete and durable; the old one is then moved aside.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wxgptd.domain.record import Recorded
from wxgptd.domain.state import EMPTY, Inconsistent, UserState, evolve
from wxgptd.domain.values import User
from wxgptd.errors import WxgptError
from wxgptd.eventlog import codec, framing, reader, recovery, segments, whole

_NO_HEADER = "its header does not check"

PutAside = Callable[[Recorded, str], None]
"""Told of an event that is whole and cannot be kept, and why."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a segment, or a whole one, that hold no frame that checks."""

    segment: str
    offset: int
    size: int
    why: str


@dataclass(slots=True)
class Plan:
    """What can be saved, and what cannot.

    `refused` is what a start refuses, a line each; `lost_seqs` are ranges of event numbers that
    no frame has; `aside` counts events that are whole but cannot follow what is left before
    them. `torn` is how many bytes a crash left at the end: no event of those was ever
    acknowledged.
    """

    refused: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    lost_seqs: list[tuple[int, int]] = field(default_factory=list)
    kept: int = 0
    aside: int = 0
    torn: int = 0

    @property
    def needed(self) -> bool:
        """Whether anything is wrong at all."""
        return bool(self.refused or self.gaps or self.lost_seqs or self.aside)


class NothingToSave(WxgptError):
    """there is no event in this log that could be saved"""


def plan(directory: Path) -> Plan:
    """Return what a repair of the log in `directory` would save and lose. Changes nothing."""
    found = Plan()
    for _ in _salvaged(directory, found, lambda _record, _why: None):
        found.kept += 1
    return found


def repair(directory: Path, aside: Path) -> Plan:
    """Put a log that can be read in the place of `directory`; move that to `aside`.

    Beside the old segments, `aside` gets `lost.ndjson`: the events that are whole and could not
    be kept. The caller holds the state directory's lock.

    Raises:
        NothingToSave: not a single event can be kept.
    """
    fresh, whole_log = (
        directory.with_name(f"{directory.name}.repairing"),
        recovery.repaired(directory),
    )
    for leftover in (fresh, whole_log):  # of an earlier repair that was interrupted
        if leftover.exists():
            shutil.rmtree(leftover)
    segments.make_private_directory(fresh)
    found = Plan()
    lost: list[str] = []

    def put_aside(record: Recorded, why: str) -> None:
        said = {
            "seq": record.seq,
            "account": record.user.account,
            "user": record.user.openid,
            "why": why,
            "event": repr(record.event),
        }
        text = json.dumps(said, ensure_ascii=False)
        lost.append(text.encode("utf-8", "backslashreplace").decode())

    found.kept = whole.write(fresh, _salvaged(directory, found, put_aside))
    if not found.kept:
        shutil.rmtree(fresh)
        raise NothingToSave(f"not one event of {directory} can be saved")
    if lost:
        (directory / "lost.ndjson").write_text("\n".join([*lost, ""]), "utf-8")
    # From here on it is only renamed; interrupted between the two, the next start does the other.
    fresh.rename(whole_log)
    segments.sync_directory(directory.parent)
    directory.rename(aside)
    whole_log.rename(directory)
    segments.sync_directory(directory.parent)
    return found


def _salvaged(directory: Path, found: Plan, put_aside: PutAside) -> Iterator[Recorded]:
    """Yield what can be kept, numbered anew; note in `found` what cannot."""
    found.refused.extend(
        f"{info.path.name}: byte {info.offset}: {info.damage}"
        for info in reader.inspect(directory)
        if info.damage
    )
    states: dict[User, UserState] = {}
    seq = 0
    for record in _whole(directory, found):
        state = states.get(record.user, EMPTY)
        try:
            states[record.user] = evolve(state, record.event)
        except Inconsistent as error:
            found.aside += 1
            put_aside(record, str(error))
            continue
        seq += 1
        yield Recorded(seq, record.user, state.version, record.event)


def _whole(directory: Path, found: Plan) -> Iterator[Recorded]:
    """Yield the events of all whole frames, in the order of their numbers."""
    due = 1
    paths = segments.list_segments(directory)
    for path in paths:
        with reader.mapped(path) as data:
            header = framing.unpack_header(data)
            if header is None:
                if path == paths[-1] and len(data) <= framing.HEADER_BYTES:
                    found.torn = len(data)
                    continue
                found.gaps.append(
                    Gap(path.name, 0, min(len(data), framing.HEADER_BYTES), _NO_HEADER)
                )
                if len(data) <= framing.HEADER_BYTES:
                    continue
                header = framing.Header(due, 0.0, framing.presumed_key(data))
            elif header.version != framing.FORMAT_VERSION:
                reader.read_header(path, data, last=False)  # raises: a newer format is no damage
            for frame in _frames(path, data, header, found, last=path == paths[-1]):
                if frame.first_seq > due:
                    found.lost_seqs.append((due, frame.first_seq - 1))
                try:
                    records = list(reader.decode_frame(path, frame))
                except reader.LogDamaged as error:
                    size = frame.end - error.offset
                    found.gaps.append(Gap(path.name, error.offset, size, error.why))
                    records = []
                for record in records:
                    if record.seq >= due:  # overlapping segments have some twice
                        yield codec.require(record)
                due = max(due, frame.first_seq + frame.count)


def _frames(
    path: Path, data: memoryview, header: framing.Header, found: Plan, *, last: bool
) -> Iterator[framing.Frame]:
    """Yield the whole frames of a segment, whatever lies between them."""
    position = framing.HEADER_BYTES
    while position < len(data):
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
                    found.torn = len(data) - position
                    return
                end = len(data) if after is None else after
                found.gaps.append(Gap(path.name, position, end - position, "no frame that checks"))
                position = end
