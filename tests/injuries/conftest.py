"""Injuries to the log and to the machine that it is stored on.

A normal test run repeats each for at most a few minutes; `make torture` repeats it as often as
`docs/reliability.md` states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.surviving import TORTURE


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], None]]:
    """Collect measurements; `make torture` prints them."""
    lines: list[str] = []
    yield lines.append
    if TORTURE:
        with capsys.disabled():
            for line in lines:
                print(f"\n{line}", flush=True)
