"""The journal: live state equals the fold of the log, wherever the log was cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.test_properties import TIMED, timed
from tests.support.builders import ALICE, BOB, complete, receive
from tests.support.memory_store import MemoryStore
from wxgptd.domain.decide.commands import ExpireSession
from wxgptd.domain.model.values import User
from wxgptd.eventlog import codec, framing, packing, segments
from wxgptd.eventlog.framing import Header
from wxgptd.service.state.journal import UNLOAD_AFTER_S, UNLOADED_AT_ONCE, Entry, Journal
from wxgptd.service.state.projections import OpenSessions

USERS = st.lists(st.sampled_from([ALICE, BOB]), min_size=60, max_size=60)


class Service:
    """A journal and its projections, on a store."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.sessions = OpenSessions()
        self.journal = Journal(store, (self.sessions,), print)

    def load(self, now: float):
        self.journal.load(self.store.load(self.journal.since(now)), now)
        return self

    def state(self):
        """Return all states, and the users with a session."""
        states = {user: self.journal.state(user) for user in (ALICE, BOB)}
        return states, set(self.sessions)


def test_a_cleared_link_is_dead():
    commands = [
        (receive("/chatgpt 为什么？", "m0"), 0.0),
        (receive("/clear", "m1"), 0.0),
    ]
    store, live, now = record_all(commands, [ALICE] * 2, snapshot_after=1)
    states, _ = Service(store).load(now).state()
    assert list(states[ALICE].links(0.0)) == list(live.journal.state(ALICE).links(0.0)) == []
    assert states[ALICE].past


def record_all(commands, users, snapshot_after=None) -> tuple[MemoryStore, Service, float]:
    store = MemoryStore()
    service, now = Service(store), 0.0
    for number, ((command, delay_s), user) in enumerate(zip(commands, users, strict=False)):
        now += delay_s
        service.journal.record(user, timed(command, now))
        if number == snapshot_after:
            store.snapshot(service.journal.capture(0.0, 0.0))()
    return store, service, now


@given(TIMED, USERS)
def test_replaying_the_log_gives_the_live_state_and_appends_nothing(commands, users):
    store, live, now = record_all(commands, users)
    before = store.events()
    replayed = Service(store).load(now)
    assert replayed.state() == live.state()
    assert store.events() == before


@given(TIMED, USERS, st.data())
def test_a_snapshot_plus_the_rest_of_the_log_gives_the_live_state(commands, users, data):
    snapshot_after = data.draw(st.integers(0, max(0, len(commands) - 1)))
    store, live, now = record_all(commands, users, snapshot_after=snapshot_after)
    replayed = Service(store).load(now)
    assert replayed.state() == live.state()
    # the same holds for a snapshot after a start
    reloaded = Service(store).load(now)
    store.snapshot(reloaded.journal.capture(0.0, 0.0))()
    assert Service(store).load(now).state() == live.state()


def test_startup_loads_only_users_with_unfinished_work():
    asking, quiet = (User("main", name) for name in ("asks", "quiet"))
    store = MemoryStore()
    journal = Service(store).journal
    journal.record(asking, receive("/chatgpt", "a1", at=10.0))
    journal.record(quiet, receive("/help", "h1", at=20.0))
    reloaded = Service(store).load(10_000.0).journal
    assert {user for user, _ in reloaded.loaded()} == {asking}
    assert reloaded.state(quiet).version == 2
    assert {user for user, _ in reloaded.loaded()} == {asking, quiet}


def test_startup_loads_users_whose_answer_may_still_have_to_be_pushed(monkeypatch):
    monkeypatch.setattr(segments, "creation_time", lambda: 100.0)
    store = MemoryStore()
    journal = Service(store).journal
    for user, at in ((ALICE, 90.0), (BOB, -2_000.0)):
        journal.record(user, receive("/chatgpt 为什么？", "a1", at=at))
        journal.record(user, complete("a1", "因为。", at=at + 1.0))
        journal.record(user, receive("/stop", "a2", at=at + 2.0))
    store.snapshot(journal.capture(0.0, 0.0))()
    reloaded = Service(store).load(10_000.0).journal
    assert {user for user, _ in reloaded.loaded()} == {ALICE}


def test_users_are_unloaded_after_an_hour_unless_something_is_unfinished():
    asking, quiet, busy = (User("main", name) for name in ("asks", "quiet", "busy"))
    service = Service(MemoryStore()).load(0.0)
    journal = service.journal
    journal.record(asking, receive("/chatgpt 为什么？", "a1", at=0.0))
    states = {}
    for user in (quiet, busy):
        states[user] = journal.record(user, receive("/help", f"{user.openid}1", at=0.0)).state

    def pass_half_an_hour(number: int) -> None:
        journal.state(busy)
        journal.unload(number * UNLOAD_AFTER_S)
        journal.unload(number * UNLOAD_AFTER_S + 1.0)

    pass_half_an_hour(1)
    assert {user for user, _ in journal.loaded()} == {asking, quiet, busy}
    pass_half_an_hour(2)
    assert {user for user, _ in journal.loaded()} == {asking, busy}
    pass_half_an_hour(3)
    assert {user for user, _ in journal.loaded()} == {asking, busy}
    assert journal.state(quiet) == states[quiet], "it is read from the log"
    assert journal.state(busy) == states[busy]
    journal.record(quiet, receive("/help", "h2", at=9_999.0))
    assert journal.state(quiet).version == states[quiet].version + 2


def test_nothing_is_unloaded_that_is_not_durable_yet():
    store = MemoryStore()
    journal = Service(store).load(0.0).journal
    store.stalled = True
    journal.record(ALICE, receive("/help", "h1", at=0.0))
    for number in range(1, 6):
        journal.unload(number * UNLOAD_AFTER_S)
    assert {user for user, _ in journal.loaded()} == {ALICE}
    store.commit()
    for number in range(6, 9):
        journal.unload(number * UNLOAD_AFTER_S)
    assert {user for user, _ in journal.loaded()} == set()


def test_many_users_are_unloaded_a_few_at_a_time():
    journal = Service(MemoryStore()).load(0.0).journal
    for number in range(3 * UNLOADED_AT_ONCE):
        user = User("main", str(number))
        journal.record(user, receive("/help", f"h{number}", at=0.0))
    journal.unload(UNLOAD_AFTER_S)
    journal.unload(2 * UNLOAD_AFTER_S)
    left = []
    for second in range(1, 5):
        journal.unload(2 * UNLOAD_AFTER_S + second)
        left.append(len(journal._unneeded))
    assert left == [2 * UNLOADED_AT_ONCE, UNLOADED_AT_ONCE, 0, 0]


@given(TIMED, USERS, st.data())
def test_a_prefix_of_the_log_s_bytes_is_a_prefix_of_its_events(commands, users, data):
    store, _, _ = record_all(commands, users)
    header = Header(first_seq=1, created=0.0, key=7)
    written = framing.pack_header(header)
    entries = list(store._entries)
    for seq, entry in enumerate(entries, 1):
        payload = codec.join(1, [codec.pack([entry])])
        written += framing.pack_frame(header.key, seq, 1, payload)
    cut = data.draw(st.integers(framing.HEADER_BYTES, len(written)))
    read = [
        entry
        for frame in framing.frames(memoryview(written[:cut]), header)
        for entry in packing.unpack(frame.payload)
    ]
    assert read == entries[: len(read)]
    assert cut < len(written) or len(read) == len(entries)
    shorter = MemoryStore()
    shorter.keys, shorter._entries = store.keys, read
    users = shorter.load({}).users
    for user in (ALICE, BOB):
        users.find(user)


def test_subscribers_see_all_recorded_events_in_log_order():
    store = MemoryStore()
    service, calls = Service(store), []

    def record_once_more(entry: Entry) -> None:
        calls.append(("first", entry.events))
        if len(calls) == 1:
            service.journal.record(BOB, receive("/chatgpt 为什么？", "m1"))

    service.journal.subscribe(record_once_more)
    service.journal.subscribe(lambda entry: calls.append(("second", entry.events)))
    service.journal.record(ALICE, receive("/chatgpt 为什么？", "m0"))
    assert [subscriber for subscriber, _ in calls] == ["first", "second"] * 2
    seen = [event for subscriber, events in calls for event in events if subscriber == "second"]
    assert seen == store.events()


def test_subscribers_see_neither_empty_entries_nor_replayed_events():
    store, _, now = record_all([(receive("/chatgpt 为什么？", "m0"), 0.0)], [ALICE])
    restarted, entries = Service(store), []
    restarted.journal.subscribe(entries.append)
    restarted.load(now)
    entry = restarted.journal.record(ALICE, ExpireSession(at=now))
    assert (entry.events, entries) == ((), [])
    assert entry.before == entry.state == restarted.journal.state(ALICE)
    restarted.journal.record(ALICE, receive("在吗", "m1"))
    assert len(entries) == 1


def test_a_failing_subscriber_still_sees_later_entries():
    service, calls = Service(MemoryStore()), []

    def fail_once(entry: Entry) -> None:
        calls.append(entry.events)
        if len(calls) == 1:
            raise RuntimeError

    service.journal.subscribe(fail_once)
    with pytest.raises(RuntimeError):
        service.journal.record(ALICE, receive("/chatgpt 为什么？", "m0"))
    service.journal.record(BOB, receive("/chatgpt 为什么？", "m1"))
    assert len(calls) == 2
