"""Runs the targets that are too slow for `make test`, and prints one table.

    python tests/nightly.py TARGET...

`make nightly` passes the list that the Makefile keeps. A target that fails does not stop the next
one; the exit status is 1 if any failed. What each printed is in build/nightly/TARGET.log. Ctrl-C
ends the run; the table says how far it got.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LOGS = ROOT / "build" / "nightly"


class Run(NamedTuple):
    """How one target went: make's exit status, its duration, and its closing line."""

    target: str
    status: int
    minutes: float
    summary: str


def run(target: str) -> Run:
    """Run one target of the Makefile and keep its output."""
    log = LOGS / f"{target}.log"
    began = time.monotonic()
    with log.open("wb") as output:
        command = ["make", "--no-print-directory", target]
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    minutes = (time.monotonic() - began) / 60
    return Run(target, done.returncode, minutes, summary(log.read_text("utf-8", "replace")))


def summary(output: str) -> str:
    """Return pytest's closing line without its frame, or the last line if there is none."""
    found = re.findall(r"(?m)^=* ?(\d+ (?:passed|failed|error|skipped).*?) in [\d.]+s", output)
    if found:
        return str(found[-1])
    return next((line.strip()[:80] for line in output.splitlines()[::-1] if line.strip()), "")


def table(runs: list[Run]) -> str:
    """Return the runs as lines of equal columns."""
    lines = [f"{'target':<12} {'result':<8} {'minutes':>7}  last line"]
    for one in runs:
        result = "failed" if one.status else "passed"
        lines.append(f"{one.target:<12} {result:<8} {one.minutes:>7.1f}  {one.summary}".rstrip())
    return "\n".join(lines)


def main(targets: list[str]) -> int:
    """Run all `targets`, print the table, and return the exit status."""
    LOGS.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    try:
        for target in targets:
            print(f"make {target}  (output: build/nightly/{target}.log)", flush=True)
            runs.append(run(target))
    except KeyboardInterrupt:
        print(f"\ninterrupted; not run to the end: {', '.join(targets[len(runs) :])}")
    print(f"\n{table(runs)}")
    return int(len(runs) < len(targets) or any(one.status for one in runs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
