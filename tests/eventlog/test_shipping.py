"""A log that follows another: what arrives, what is refused, and what a break in the pipe leaves."""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
from pathlib import Path

import pytest

from tests.eventlog.test_deleting import DELETED, ENDED, OPENED_AT, S1, TALK, Reactor, record, said
from tests.eventlog.test_store import open_store
from tests.support.builders import ALICE, BOB
from tests.support.injuries import MASTER, read
from wxgptd.domain.evolve import fold
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import User
from wxgptd.eventlog import early_erasures, segments
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.segments import StateDirectoryLocked
from wxgptd.eventlog.shipping.messages import (
    Group,
    Hello,
    Keys,
    Packer,
    SnapshotPart,
    StreamEnded,
    StreamRefused,
    Unpacker,
    digest_of,
)
from wxgptd.eventlog.shipping.receiving import Receiver
from wxgptd.eventlog.shipping.sending import CannotShip, Position, Sender
from wxgptd.eventlog.taking import CannotTake
from wxgptd.eventlog.writer import SegmentBounds
from wxgptd.ports.record import Capture

LINK_KEY = b"l" * 32
OTHER = bytes(range(32, 64))


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def there(tmp_path, reactor):
    """A state directory in which a daemon writes."""
    state_dir = tmp_path / "there"
    store = open_store(state_dir, reactor, bounds=SegmentBounds(4_096))
    link_key(state_dir)
    store.state_dir = state_dir
    yield store
    store.close()


@pytest.fixture
def here(tmp_path):
    state_dir = tmp_path / "here"
    link_key(state_dir)
    return state_dir


def link_key(state_dir: Path, key: bytes = LINK_KEY) -> None:
    segments.make_private_directory(segments.keys_directory(state_dir))
    (segments.keys_directory(state_dir) / "links").write_bytes(key)


def stream(store, after: Position = Position(), master: bytes = MASTER) -> bytes:
    """Return what a sender sends up to now."""
    sender, packer = Sender(store.state_dir, after), Packer(master)
    sent = itertools.chain(sender.hello(), sender.poll(), [sender.beat()])
    return packer.preamble + b"".join(map(packer.pack, sent))


def receive(state_dir: Path, data: bytes, master: bytes = MASTER) -> Position:
    """Receive a stream to its end; return what the directory has then."""
    unpacker = Unpacker(io.BytesIO(data).read, master)
    receiver = Receiver(state_dir, master)
    try:
        while True:
            receiver.take(unpacker.next())
    except StreamEnded:
        receiver.settle()
        return receiver.position
    finally:
        receiver.close()


def state(state_dir: Path, user: User):
    """Return the state that a daemon would start with."""
    reactor = Reactor()
    store = open_store(state_dir, reactor)
    try:
        return store._users.find(user)
    finally:
        store.close()


def test_a_received_log_is_the_same_log(there, here, reactor):
    record(there, reactor, ALICE, TALK, 0)
    record(there, reactor, BOB, TALK, 0)
    assert receive(here, stream(there)) == (2 * len(TALK), 0)
    assert read(here / "log") == read(there.state_dir / "log")
    assert state(here, ALICE) == state(here, BOB) == fold(TALK)


def test_a_stream_resumes_where_the_last_one_stopped(there, here, reactor):
    version = record(there, reactor, ALICE, TALK, 0)
    position = receive(here, stream(there))
    record(there, reactor, ALICE, ENDED, version)
    rest = stream(there, position)
    assert len(rest) < len(stream(there))
    assert receive(here, rest).seq == len(TALK) + len(ENDED)
    # Without a position, the receiver skips what it has.
    record(there, reactor, BOB, TALK, 0)
    assert receive(here, stream(there)).seq == 2 * len(TALK) + len(ENDED)
    assert read(here / "log") == read(there.state_dir / "log")


def test_a_stream_that_breaks_anywhere_leaves_a_log_that_can_be_continued(there, here, reactor):
    record(there, reactor, ALICE, TALK, 0)
    record(there, reactor, BOB, TALK, 0)
    whole = stream(there)
    complete = read(there.state_dir / "log")
    for cut in range(40, len(whole), max(1, len(whole) // 40)):
        shutil.rmtree(here)
        link_key(here)
        receive(here, whole[:cut])
        got = read(here / "log")
        assert got == complete[: len(got)]
        assert receive(here, whole).seq == len(complete)
        assert read(here / "log") == complete


def test_a_user_erased_there_is_erased_here_and_first_at_reconnect(there, here, reactor, tmp_path):
    version = record(there, reactor, ALICE, TALK, 0)
    record(there, reactor, BOB, TALK, 0)
    receive(here, stream(there))
    keys = here / "keys" / "users"
    reference = there._keys.of(ALICE).reference
    assert Keyring(keys, MASTER).find(reference) is not None
    record(there, reactor, ALICE, [e.UserErased(at=99.0)], version)
    data = stream(there)
    # Only the greeting and the keys arrive, not the event.
    unpacker, receiver = Unpacker(io.BytesIO(data).read, MASTER), Receiver(here, MASTER)
    while not isinstance(message := unpacker.next(), Group):
        receiver.take(message)
    receiver.settle()
    receiver.close()
    assert Keyring(keys, MASTER).find(reference) is None
    promoted = tmp_path / "promoted"
    shutil.copytree(here, promoted)
    receive(here, data)
    assert early_erasures.read(keys) == (reference,)
    receive(here, stream(there))
    assert state(here, ALICE) is None
    # A daemon that is started before the event arrives records the erasure itself.
    for _ in range(2):
        assert state(promoted, ALICE) is None
        assert state(promoted, BOB) == fold(TALK)
    erasures = [r for r in read(promoted / "log") if isinstance(r.event, e.UserErased)]
    assert len(erasures) == 1
    assert early_erasures.read(promoted / "keys" / "users") == ()
    assert state(here, BOB) == fold(TALK)


def test_an_erasure_in_the_stream_deletes_the_key(there, here, reactor):
    version = record(there, reactor, ALICE, TALK, 0)
    sender, packer = Sender(there.state_dir, Position()), Packer(MASTER)
    data = packer.preamble + b"".join(
        map(packer.pack, itertools.chain(sender.hello(), sender.poll()))
    )
    reference = there._keys.of(ALICE).reference
    record(there, reactor, ALICE, [e.UserErased(at=99.0)], version)
    data += b"".join(map(packer.pack, sender.poll()))
    receive(here, data)
    assert Keyring(here / "keys" / "users", MASTER).find(reference) is None


def test_snapshots_arrive_and_remove_what_was_deleted(there, here, reactor):
    version = record(there, reactor, ALICE, TALK, 0)
    there.snapshot(Capture(len(TALK), {"spending": [1]}, 0.0, 0.0))()
    position = receive(here, stream(there))
    assert position == (len(TALK), len(TALK))
    record(there, reactor, ALICE, [*ENDED, DELETED], version)
    last_seq = len(TALK) + len(ENDED) + 1
    position = receive(here, stream(there, position))
    assert "问题 0" in said(here / "log", Keyring(here / "keys" / "users", MASTER))
    fired = []
    there.begin_segment().addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    capture = Capture(last_seq, {"spending": [2]}, 0.0, 0.0, deleted=[(ALICE, S1, OPENED_AT)])
    there.snapshot(capture)()
    assert receive(here, stream(there, position)) == (last_seq, last_seq)
    left = said(here / "log", Keyring(here / "keys" / "users", MASTER))
    assert "问题 0" not in left
    assert "这句要留下" in left
    store = open_store(here, reactor)
    assert store.load({}).notes["spending"] == (2,)
    store.close()
    assert state(here, ALICE) == fold([*TALK, *ENDED, DELETED])


def test_only_one_process_uses_a_directory(there, here, reactor):
    record(there, reactor, ALICE, TALK, 0)
    receiver = Receiver(here, MASTER)
    with pytest.raises(StateDirectoryLocked):
        Receiver(here, MASTER)
    with pytest.raises(StateDirectoryLocked):
        open_store(here, reactor)
    receiver.close()


# What is refused.


def test_another_master_key_or_link_key_is_refused(there, here, tmp_path, reactor):
    record(there, reactor, ALICE, TALK, 0)
    with pytest.raises(StreamRefused, match="another master key"):
        receive(here, stream(there, master=OTHER))
    link_key(here, b"x" * 32)
    with pytest.raises(StreamRefused, match="another link key"):
        receive(here, stream(there))
    bare = tmp_path / "bare"
    segments.make_private_directory(bare)
    with pytest.raises(StreamRefused, match="is missing"):
        receive(bare, stream(there))
    assert not list(here.glob("log/*.wxlog")) or read(here / "log") == []


def test_a_log_that_goes_its_own_way_is_refused(there, here, reactor):
    record(there, reactor, ALICE, TALK, 0)
    receive(here, stream(there))
    own = open_store(here, reactor)
    record(own, reactor, BOB, TALK, 0)
    own.close()
    with pytest.raises(StreamRefused, match="has 18 events, the sender's only 9"):
        receive(here, stream(there))


def test_a_gap_is_refused_at_either_end(there, here, reactor):
    record(there, reactor, ALICE, TALK, 0)
    there.snapshot(Capture(len(TALK), {}, 0.0, 0.0))()
    fired = []
    there.begin_segment().addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    record(there, reactor, BOB, TALK, 0)
    there.retain(9e12, 1)
    with pytest.raises(StreamRefused, match="begins at event"):
        receive(here, stream(there, Position(len(TALK))))
    with pytest.raises(CannotShip, match="dropped"):
        stream(there, Position(1))


@pytest.mark.parametrize("junk", [b"", b"ssh: banner\n" * 9, b"WXGPTSHP\0\7" + bytes(16)])
def test_junk_is_refused(here, junk):
    with pytest.raises((StreamRefused, CannotTake, StreamEnded)):
        receive(here, junk)


def test_every_flipped_byte_is_noticed(there, here, reactor):
    record(there, reactor, ALICE, TALK, 0)
    whole = stream(there)
    complete = read(there.state_dir / "log")
    for at in range(0, len(whole), 37):
        shutil.rmtree(here)
        link_key(here)
        broken = bytearray(whole)
        broken[at] ^= 0x20
        with contextlib.suppress(StreamRefused, CannotTake, StreamEnded):
            receive(here, bytes(broken))
        got = read(here / "log") if list(here.glob("log/*.wxlog")) else []
        assert got == complete[: len(got)]
        assert len(got) < len(complete) or at > len(whole) - 60


def test_messages_may_not_be_left_out_or_reordered(there, here, reactor):
    record(there, reactor, ALICE, TALK, 0)
    sender, packer = Sender(there.state_dir, Position()), Packer(MASTER)
    packed = [packer.pack(m) for m in itertools.chain(sender.hello(), sender.poll())]
    for changed in (packed[:2] + packed[3:], [packed[0], packed[2], packed[1], *packed[3:]]):
        with pytest.raises(StreamRefused, match="changed on the way"):
            receive(here, packer.preamble + b"".join(changed))


HOSTILE = {
    "no greeting": [Group(1, 1, b"\x91\xc0")],
    "an entry that is none": [Hello(b"", 1, 9), Group(1, 1, b"\x91\xc0")],
    "a wrong count": [Hello(b"", 1, 9), Group(1, 7, b"\x91\xc0")],
    "no events": [Hello(b"", 1, 9), Group(1, 0, b"\x90")],
    "a negative number": [Hello(b"", 1, 9), Group(-5, 1, b"\x91\xc0")],
    "a key that is none": [Hello(b"", 1, 9), Keys((b"../../etc/passwd",))],
    "a list of keys that is none": [Hello(b"", 1, 9), Keys((), b"odd")],
    "another type": [Hello(b"", "1", 9)],
    "a key's other type": [Hello(b"", 1, 9), Keys((1,))],
}


@pytest.mark.parametrize("messages", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_sender_with_the_right_keys_writes_nothing(here, messages):
    packer = Packer(MASTER)
    messages = [
        m._replace(link_key=digest_of(LINK_KEY)) if isinstance(m, Hello) else m for m in messages
    ]
    data = packer.preamble + b"".join(map(packer.pack, messages))
    with pytest.raises((StreamRefused, CannotTake)):
        receive(here, data)
    assert read(here / "log") == []


def test_a_snapshot_that_is_none_is_refused_and_named_by_its_number(there, here, reactor):
    record(there, reactor, ALICE, TALK, 0)
    packer = Packer(MASTER)
    sender = Sender(there.state_dir, Position())
    sent = [
        *sender.hello(),
        *sender.poll(),
        SnapshotPart(10**19, b"junk"),
        SnapshotPart(-1, b"junk"),
        SnapshotPart(3, b"junk"),
        SnapshotPart(3, b""),
    ]
    data = packer.preamble + b"".join(map(packer.pack, sent))
    with pytest.raises(StreamRefused, match="snapshot"):
        receive(here, data)
    assert not list((here / "log").glob("*.wxsnap*"))
    assert state(here, ALICE) == fold(TALK)
