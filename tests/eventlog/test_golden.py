"""A log of every shape that events ever had stays readable: the fixtures are never rewritten.

`v1` has all events in their first shape; `v2` the ones that came or changed with pictures,
pushes, standings and readable text; `v3` those of several models and what they cost. What scripts read may gain names, and loses none.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.injuries import read
from wxgpt import render
from wxgptd.domain.state import fold
from wxgptd.eventlog.codec import KINDS

LOGS = Path(__file__).parent.parent / "fixtures" / "logs"
VERSIONS = sorted(path.name for path in LOGS.iterdir())


@pytest.mark.parametrize("version", VERSIONS)
def test_it_reads_as_it_always_did(version):
    log = LOGS / version
    tracker = render.Sessions()
    found = [render.as_json(record, tracker.session_of(record)) for record in read(log)]
    expected = [json.loads(line) for line in (log / "events.ndjson").read_text().splitlines()]
    assert len(found) == len(expected)
    for now, then in zip(found, expected, strict=True):
        assert then.items() <= now.items()


def folded(version: str, openid: str):
    """The state of one user. Bob's events in `v1` are examples, and make no conversation."""
    found = [record.event for record in read(LOGS / version) if record.user.openid == openid]
    return fold(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_folds(version):
    assert folded(version, "alice").version


def test_every_kind_is_in_the_newest():
    assert {type(record.event).__name__ for record in read(LOGS / VERSIONS[-1])} == set(KINDS)


def test_what_the_first_shape_left_open_is_settled_by_the_fold():
    state = folded("v1", "alice")
    offered = [one for session in state.sessions() for one in session.questions.values()]
    assert offered
    assert all(one.all_offered and one.offered == len(one.answer.text) for one in offered)
