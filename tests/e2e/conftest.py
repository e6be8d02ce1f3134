from __future__ import annotations

import pytest

from tests.support.processes import Stage


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path)
    yield stage
    stage.end()
