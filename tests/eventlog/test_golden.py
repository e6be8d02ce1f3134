"""A log of every released format stays readable: the fixtures are never rewritten."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.injuries import read
from wxgpt import render

LOGS = Path(__file__).parent.parent / "fixtures" / "logs"


def test_version_1_reads_as_it_always_did():
    log = LOGS / "v1"
    tracker = render.Sessions()
    found = [render.as_json(record, tracker.session_of(record)) for record in read(log)]
    expected = [json.loads(line) for line in (log / "events.ndjson").read_text().splitlines()]
    assert found == expected
    assert {one["type"] for one in expected} == set(
        __import__("wxgptd.eventlog.codec", fromlist=["KINDS"]).KINDS
    )
