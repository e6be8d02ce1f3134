"""The daemon's status has the same field names on the admin socket and in the metrics."""

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
    responses, bodies = [], []
    http = StubTreq(story.service.admin)
    http.get("http://admin.test/status").addCallback(responses.append)
    http.flush()
    http.text_content(responses[0]).addCallback(bodies.append)
    http.flush()
    return json.loads(bodies[0])


def test_the_admin_socket_returns_the_status_by_field_name(story):
    status = as_json(story)
    assert list(status) == NAMES
    assert status["running_answers"] == story.service.status().running_answers == 1
    assert status["deliberate_timeouts"]["main"]["budget"] == 60
    assert status["log_fsync_s"].keys() == {"commits", "sum_s", "buckets"}


NOT_GAUGES = {
    "version",  # a label of build_info
    "pid",
    "uptime_s",  # pid and uptime_s come from prometheus_client's own collector
    "why_unhealthy",
    "push",
    "models",
    "model_failures",  # text
    "seconds_since_full",
    "unanswered",  # counters instead: wxgptd_full_total, wxgptd_messages_unanswered_total
}


def gauges(story: Story) -> dict[str, dict[tuple[str, ...], float]]:
    """Return what Prometheus scrapes: values by status name and labels."""
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for metric in Gauges(story.service.status).collect():
        for sample in metric.samples:
            name = sample.name.removeprefix("wxgptd_").removesuffix("_total")
            name = re.sub(r"_seconds(?=$|_)", "_s", name)
            values.setdefault(name, {})[tuple(sample.labels.values())] = sample.value
    return values


def flat(status: dict) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the status in the format of `gauges`."""
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for name in set(NAMES) - NOT_GAUGES:
        match status[name]:
            case {"commits": commits, "sum_s": sum_s}:
                values[f"{name}_count"], values[f"{name}_sum"] = {(): commits}, {(): sum_s}
            case dict() as by_label:
                for label, value in by_label.items():
                    numbers = value if isinstance(value, dict) else {"": value}
                    for suffix, number in numbers.items():
                        key = f"{name}_{suffix}" if suffix else name
                        values.setdefault(key, {})[label,] = float(number or 0)
            case None:
                values[name] = {(): 0.0}
            case value:
                values[name] = {(): float(value)}
    return values


def test_every_field_is_a_gauge_with_the_same_name_and_value(story):
    exported, expected = gauges(story), flat(as_json(story))
    assert set(exported) - set(expected) == {"build_info", "log_fsync_s_bucket"}
    not_exported = {"auto", "suspended_at", "suspected"}
    assert set(expected) - set(exported) == {
        *(f"deliberate_timeouts_{name}" for name in not_exported),
        "log_shipped_behind",  # this log was never shipped
        "log_shipped_s",
        *(name for name in expected if name.startswith("cluster_")),  # it is alone
    }
    for name in set(exported) & set(expected):
        assert exported[name] == pytest.approx(expected[name], abs=1e-6), name


def test_the_cost_of_a_removed_assistant_still_counts_today(story):
    story.service.state.spending._costs["former"] = 1.5
    assert story.service.status().cost_today == {"chatgpt": 0.0, "former": 1.5}


def test_the_status_skips_projections_that_are_still_being_replayed(story):
    story.service._lifecycle.ready = story.service._lifecycle.loaded = False
    story.service.state.unanswered.between = None  # a call would fail
    status = as_json(story)
    assert (status["ready"], status["deliberate_timeouts"], status["unanswered"]) == (False, {}, {})
    assert list(Gauges(story.service.status).collect())
