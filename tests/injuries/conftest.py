"""Injuries to the log and to the machine below it, by name.

A usual test run repeats each as often as a few minutes allow; `make torture` repeats it as often as
`docs/reliability.md` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.surviving import TORTURE


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], None]]:
    """Collect lines about what was measured; `make torture` prints them."""
    lines: list[str] = []
    yield lines.append
    if TORTURE:
        with capsys.disabled():
            for line in lines:
                print(f"\n{line}", flush=True)
