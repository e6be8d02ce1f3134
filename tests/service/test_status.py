"""The daemon's status: one description, by the same names wherever it is read."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest
from treq.testing import StubTreq

from tests.support.model_server import answer_at
from tests.support.story import Story
from wxgptd.admin.gauges import Gauges
from wxgptd.ports.status import DaemonStatus

NAMES = [field.name for field in fields(DaemonStatus)]


@pytest.fixture
def story():
    story = Story(answer_at(3, "因为。"))
    story.open()
    story.send("为什么？")
    story.advance(1)
    return story


def as_json(story: Story) -> dict:
    found, text = [], []
    http = StubTreq(story.service.admin)
    http.get("http://admin.test/status").addCallback(found.append)
    http.flush()
    http.text_content(found[0]).addCallback(text.append)
    http.flush()
    return json.loads(text[0])


def test_the_admin_socket_returns_the_status_by_field_name(story):
    said = as_json(story)
    assert list(said) == NAMES
    assert said["running_answers"] == story.service.status().running_answers == 1
    assert said["deliberate_timeouts"]["main"]["budget"] == 60
    assert said["log_fsync_s"].keys() == {"commits", "sum_s", "buckets"}


NOT_GAUGES = {
    "version",  # a label of build_info
    "pid",
    "uptime_s",  # of these, prometheus_client's own collector tells
    "why_unhealthy",
    "push",
    "models",
    "model_failures",  # words
    "seconds_since_full",
    "unanswered",  # counters of their own tell: wxgptd_full_total, wxgptd_messages_unanswered_total
}


def gauges(story: Story) -> dict[str, dict[tuple[str, ...], float]]:
    """What Prometheus reads: by the status's names, by label, the value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for metric in Gauges(story.service.status).collect():
        for sample in metric.samples:
            name = sample.name.removeprefix("wxgptd_").removesuffix("_total")
            name = re.sub(r"_seconds(?=$|_)", "_s", name)
            found.setdefault(name, {})[tuple(sample.labels.values())] = sample.value
    return found


def flat(said: dict) -> dict[str, dict[tuple[str, ...], float]]:
    """The status in the same way."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for name in set(NAMES) - NOT_GAUGES:
        match said[name]:
            case {"commits": commits, "sum_s": sum_s}:
                found[f"{name}_count"], found[f"{name}_sum"] = {(): commits}, {(): sum_s}
            case dict() as by_label:
                for label, value in by_label.items():
                    inner = value if isinstance(value, dict) else {"": value}
                    for more, number in inner.items():
                        key = f"{name}_{more}" if more else name
                        found.setdefault(key, {})[label,] = float(number or 0)
            case None:
                found[name] = {(): 0.0}
            case value:
                found[name] = {(): float(value)}
    return found


def test_every_field_is_a_gauge_with_the_same_name_and_value(story):
    read, said = gauges(story), flat(as_json(story))
    assert set(read) - set(said) == {"build_info", "log_fsync_s_bucket"}
    more = {"auto", "suspended_at", "suspected"}
    assert set(said) - set(read) == {f"deliberate_timeouts_{one}" for one in more}
    for name in set(read) & set(said):
        assert read[name] == pytest.approx(said[name], abs=1e-6), name


def test_the_cost_of_a_removed_assistant_still_counts_today(story):
    story.service.state.spending._costs["former"] = 1.5
    assert story.service.status().cost_today == {"chatgpt": 0.0, "former": 1.5}


def test_the_status_skips_projections_that_are_still_being_replayed(story):
    story.service._lifecycle.ready = False
    story.service.state.unanswered.between = None  # asking would fail
    said = as_json(story)
    assert (said["ready"], said["deliberate_timeouts"], said["unanswered"]) == (False, {}, {})
    assert list(Gauges(story.service.status).collect())
