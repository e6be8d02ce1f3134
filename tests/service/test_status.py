"""The daemon's status: one description, by the same names wherever it is read."""

from __future__ import annotations

import json
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


def test_the_admin_socket_gives_it_by_the_names_of_its_fields(story):
    said = as_json(story)
    assert list(said) == NAMES
    assert said["running_answers"] == story.service.status().running_answers == 1
    assert said["deliberate_timeouts"]["main"]["budget"] == 60
    assert said["log_fsync_s"].keys() == {"commits", "sum_s", "buckets"}


def name_of(metric: str) -> str:
    """The status's name of a metric; of one that is nested, the name of what it is in."""
    name = metric.removeprefix("wxgptd_").removesuffix("_total")
    name = f"{name.removesuffix('_seconds')}_s" if name.endswith("_seconds") else name
    return next((one for one in NAMES if name == one or name.startswith(f"{one}_")), name)


def test_every_gauge_has_the_name_that_the_status_has(story):
    metrics = [metric.name for metric in Gauges(story.service.status).collect()]
    assert len(metrics) > 20
    unknown = [metric for metric in metrics if name_of(metric) not in NAMES]
    assert unknown == ["wxgptd_build_info"]


def test_a_gauge_has_the_value_that_the_status_has(story):
    said = as_json(story)
    samples = {
        sample.name.removeprefix("wxgptd_"): sample.value
        for metric in Gauges(story.service.status).collect()
        for sample in metric.samples
        if not sample.labels
    }
    for name in set(samples) & set(said):
        assert float(said[name]) == samples[name], name
    assert len(set(samples) & set(said)) > 8
