"""Run the Makefile targets that are too slow for `make test`, and print one table.

    python tests/nightly.py TARGET...

`make nightly` passes the list from the Makefile. A failed target does not stop the run; the exit
status is 1 if any target failed. The output of each is in build/nightly/TARGET.log. Ctrl-C ends the
run, and the table shows the targets that finished.
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
    """The result of one target: make's exit status, the duration, and the last line of output."""

    target: str
    status: int
    minutes: float
    summary: str


def run(target: str) -> Run:
    """Run one target of the Makefile and save its output."""
    log = LOGS / f"{target}.log"
    began = time.monotonic()
    with log.open("wb") as output:
        command = ["make", "--no-print-directory", target]
        completed = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    minutes = (time.monotonic() - began) / 60
    return Run(target, completed.returncode, minutes, summary(log.read_text("utf-8", "replace")))


def summary(output: str) -> str:
    """Return pytest's summary line without its frame, or the last line if there is none."""
    summaries = re.findall(r"(?m)^=* ?(\d+ (?:passed|failed|error|skipped).*?) in [\d.]+s", output)
    if summaries:
        return str(summaries[-1])
    return next((line.strip()[:80] for line in output.splitlines()[::-1] if line.strip()), "")


def table(runs: list[Run]) -> str:
    """Return the runs as a table with aligned columns."""
    lines = [f"{'target':<12} {'result':<8} {'minutes':>7}  last line"]
    for run in runs:
        result = "failed" if run.status else "passed"
        lines.append(f"{run.target:<12} {result:<8} {run.minutes:>7.1f}  {run.summary}".rstrip())
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
    return int(len(runs) < len(targets) or any(result.status for result in runs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
