"""A log of every shape that events ever had stays readable: the fixtures are never rewritten.

`v1` has all events in their first shape; `v2` the ones that came or changed with pictures,
pushes, standings and readable text; `v3` those of several models and what they cost; `v4` is of
format 2, encrypted, with a user who was erased; `v5` is that log continued when it was noted when
messages were sent and what was tapped, and budgets of timeouts. What scripts read may gain names, and loses none.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import injuries
from tests.support.injuries import MASTER
from wxgpt.log import rendering
from wxgptd.domain.evolve import fold
from wxgptd.eventlog import codec, reader, segments
from wxgptd.eventlog.codec import KINDS
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.store import Alarms, LogStore, Turns
from wxgptd.ports.record import Recorded

LOGS = Path(__file__).parent.parent / "fixtures" / "logs"
VERSIONS = sorted(path.name for path in LOGS.iterdir())


def read(version: str) -> list[Recorded]:
    place = LOGS / version
    keys = Keyring(segments.keyring_path(place), MASTER)
    log = place / "log" if (place / "log").exists() else place
    return [codec.require(record) for record in reader.scan(log, keys)]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_reads_as_it_always_did(version):
    found = [rendering.as_json(record) for record in read(version)]
    expected = (LOGS / version / "events.ndjson").read_text().splitlines()
    expected = [json.loads(line) for line in expected]
    assert len(found) == len(expected)
    for now, then in zip(found, expected, strict=True):
        assert then.items() <= now.items()


def folded(version: str, openid: str):
    """The state of one user. Bob's events in `v1` are examples, and make no conversation."""
    found = [record.event for record in read(version) if record.user.openid == openid]
    return fold(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_folds(version):
    assert folded(version, "alice").version


def test_every_kind_is_in_the_newest():
    assert {type(record.event).__name__ for record in read(VERSIONS[-1])} == set(KINDS)


def test_what_the_first_shape_left_open_is_settled_by_the_fold():
    state = folded("v1", "alice")
    offered = [one for session in state.sessions() for one in session.questions.values()]
    assert offered
    assert all(one.all_offered and one.offered == len(one.answer.text) for one in offered)


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_a_log_from_before_users_had_keys_is_encrypted_at_the_first_start(version, tmp_path):
    before = read(version)
    log = tmp_path / "log"
    log.mkdir(mode=0o700)
    for path in segments.list_segments(LOGS / version):
        (log / path.name).write_bytes(path.read_bytes())

    def started() -> LogStore:
        store = LogStore(tmp_path, MASTER, Turns(print, print), Alarms(print, print))
        store.load({})
        return store

    store = started()
    assert injuries.read(log) == before
    store.close()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"alice" not in written
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("log.")]
    store = started()
    assert injuries.read(log) == before
    store.close()
