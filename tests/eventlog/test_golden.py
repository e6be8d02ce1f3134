"""Logs with every event format ever used stay readable: the fixtures are never rewritten.

`v1` has all events in their first format; `v2` those added or changed for pictures, pushes,
standings and readable text; `v3` those for several models and their cost; `v4` is in format 2,
encrypted, and one of its users was erased; `v5` continues that log with the times when messages
were sent, taps and timeout budgets; `v6` and `v7` have every kind of event, in formats 2 and 3;
`v8` adds those of pages on which users write, `v9` those of sharing, titles and deleted sessions,
`v10` names. The JSON that scripts read may gain keys but never
loses any.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import injuries
from tests.support.continue_log import continue_log, records_of
from tests.support.injuries import MASTER
from wxgpt.log import rendering
from wxgptd.domain.evolve import fold
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import Standing
from wxgptd.eventlog import codec, reader, segments
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.codec import KINDS
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.store import LogStore
from wxgptd.ports.record import Recorded

LOGS = Path(__file__).parent.parent / "fixtures" / "logs"
VERSIONS = sorted((path.name for path in LOGS.iterdir()), key=lambda name: int(name[1:]))


def read(version: str) -> list[Recorded]:
    directory = LOGS / version
    keys = Keyring(segments.keyring_path(directory), MASTER)
    log = directory / "log" if (directory / "log").exists() else directory
    return [codec.require(record) for record in reader.scan(log, keys)]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_log_is_read_as_before(version):
    records = [rendering.as_json(record) for record in read(version)]
    expected = (LOGS / version / "events.ndjson").read_text().splitlines()
    expected = [json.loads(line) for line in expected]
    assert len(records) == len(expected)
    for now, then in zip(records, expected, strict=True):
        assert then.items() <= json.loads(json.dumps(now)).items()


def folded(version: str, openid: str):
    """Return the state of a user. Bob's events in `v1` are examples, not a conversation."""
    events = [record.event for record in read(version) if record.user.openid == openid]
    return fold(events)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_log_can_be_folded(version):
    assert folded(version, "alice").version


def test_the_newest_log_contains_every_event_kind():
    assert {type(record.event).__name__ for record in read(VERSIONS[-1])} == set(KINDS), (
        "write the next log with `python -m tests.support.continue_log`"
    )


def test_the_next_log_continues_the_newest(tmp_path):
    blocked = e.StandingChanged(at=1.8e9, standing=Standing.BLOCKED, until=0.0)
    continue_log(LOGS / VERSIONS[-1], tmp_path / "next", "carol", [blocked])
    records = records_of(tmp_path / "next")
    assert records[:-1] == read(VERSIONS[-1])
    assert records[-1].event == blocked
    assert len((tmp_path / "next" / "events.ndjson").read_text("utf-8").splitlines()) == len(
        records
    )
    assert not list((tmp_path / "next").rglob("reserve"))


def test_replies_in_v1_count_as_fully_offered():
    state = folded("v1", "alice")
    questions = [
        question for session in state.sessions() for question in session.questions.values()
    ]
    assert questions
    assert all(
        question.all_offered and question.offered == len(question.answer.text)
        for question in questions
    )


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_an_unencrypted_log_is_encrypted_at_the_first_start(version, tmp_path):
    before = read(version)
    log = tmp_path / "log"
    log.mkdir(mode=0o700)
    for path in segments.list_segments(LOGS / version):
        (log / path.name).write_bytes(path.read_bytes())

    def start() -> LogStore:
        store = LogStore(tmp_path, MASTER, Turns(print, print), StoreListener(print, print))
        store.load({})
        return store

    store = start()
    assert injuries.read(log) == before
    store.close()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"alice" not in written
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("log.")]
    store = start()
    assert injuries.read(log) == before
    store.close()
