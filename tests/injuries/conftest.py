"""Injuries of the log and of the machine below it, by their names.

In the usual test run each is done as often as minutes allow; `make torture` does it as often as
`docs/reliability.md` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.surviving import TORTURE


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], None]]:
    """Say what was measured; under `make torture` it is printed."""
    said: list[str] = []
    yield said.append
    if TORTURE:
        with capsys.disabled():
            for line in said:
                print(f"\n{line}", flush=True)
