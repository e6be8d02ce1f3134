"""Random drills on a real cluster. (Twenty of them: `make drills`.)"""

from __future__ import annotations

import pytest

from tests.cluster.drill import run_seed

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("cluster")]


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_lost_doubled_or_mixed_up(seed, tmp_path):
    report = run_seed(seed, tmp_path, rate=5.0)
    assert not report.faults
    assert report.count("foreign") == 0
    assert report.count("answer") + report.count("link") > 0.8 * len(report.outcomes)
