"""The journal: what is live is what the log says, whatever happened and wherever it was cut."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.domain.test_properties import TIMED
from tests.support.builders import ALICE, BOB
from tests.support.memory_store import MemoryStore
from wxgptd.eventlog import codec, framing
from wxgptd.eventlog.framing import Header
from wxgptd.service.journal import Journal
from wxgptd.service.projections import LinkIndex, OpenSessions

USERS = st.lists(st.sampled_from([ALICE, BOB]), min_size=60, max_size=60)


class Service:
    """A journal with its projections, on a store."""

    def __init__(self, store: MemoryStore) -> None:
        self.links, self.sessions = LinkIndex(7 * 86_400.0), OpenSessions()
        self.journal = Journal(store, (self.links, self.sessions))

    def state(self):
        return (
            dict(self.journal.users()),
            dict(self.links._targets),
            set(self.sessions),
        )


def lived(commands, users) -> tuple[MemoryStore, Service]:
    store = MemoryStore()
    service, now = Service(store), 0.0
    for (command, later), user in zip(commands, users, strict=False):
        now += later
        service.journal.record(user, replace(command, at=now))
    return store, service


@given(TIMED, USERS)
def test_the_fold_of_the_log_is_the_live_state_and_replaying_it_appends_nothing(commands, users):
    store, live = lived(commands, users)
    before = store.events()
    replayed = Service(store)
    replayed.journal.load(store.scan())
    assert replayed.state() == live.state()
    assert store.events() == before


@given(TIMED, USERS, st.data())
def test_a_prefix_of_the_log_s_bytes_is_a_prefix_of_its_events(commands, users, data):
    store, _ = lived(commands, users)
    records = list(store.scan())
    header = Header(first_seq=1, created=0.0, key=7)
    written = framing.pack_header(header)
    for record in records:
        entry = codec.encode(record.user, record.previous, record.event)
        payload = codec.join(1, [codec.pack([entry])])
        written += framing.pack_frame(header.key, record.seq, 1, payload)
    cut = data.draw(st.integers(framing.HEADER_BYTES, len(written)))
    read = [
        codec.decode(frame.first_seq, entry)
        for frame in framing.frames(memoryview(written[:cut]), header)
        for entry in codec.unpack(frame.payload)
    ]
    assert read == records[: len(read)]
    assert cut < len(written) or len(read) == len(records)
    service = Service(MemoryStore())
    assert service.journal.load(read) == len(read)
