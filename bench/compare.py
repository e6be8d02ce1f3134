"""Compare the CPU per webhook request of two revisions, in one run.

    python bench/compare.py BEFORE [AFTER] [--slices 10] [--seconds 0.4]

Each revision's daemon runs from a checkout of its own (AFTER is by default the working tree), with
the Python and the libraries of this one. They take turns in short slices, as in bench/webhook.py,
which compares one revision with a stock twisted.web Site, WeRoBot and wechatpy behind Flask.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import support
import webhook

HERE = Path(__file__).parent.parent


def checked_out(revision: str, place: Path) -> Path:
    """Return a checkout of `revision` in `place`."""
    subprocess.run(["git", "clone", "-q", "--shared", str(HERE), str(place)], check=True)
    subprocess.run(["git", "checkout", "-q", "--detach", revision], cwd=place, check=True)
    return place


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", help="a revision, such as HEAD~10")
    parser.add_argument("after", nargs="?", help="another one; by default the working tree")
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.4)
    options = parser.parse_args()
    support.raise_file_limit()
    model_port = support.free_port()
    model = webhook.started(webhook.MODEL, model_port)
    with ExitStack() as stack:
        stack.callback(model.kill)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wxgptd-compare-")))
        roots = [
            checked_out(revision, place / name) if revision else HERE
            for name, revision in (("before", options.before), ("after", options.after))
        ]
        before, after = (
            webhook.daemon_targets(
                stack.enter_context(
                    support.Daemon(model=f"http://127.0.0.1:{model_port}/v1", checkout=root)
                )
            )
            for root in roots
        )
        # Each request to both, one right after the other.
        turns = [target for pair in zip(before, after, strict=True) for target in pair]
        samples = webhook.sampled(turns, options.slices, options.seconds)
    print(f"{'CPU per request, 32 connections':<38}{'keep-alive':>27}{'new connections':>27}")
    for old, new in zip(before, after, strict=True):
        row = f"{old.label:<38}"
        for keep in (True, False):
            was, now = (statistics.median(samples[target, keep]) for target in (old, new))
            row += f"{was:9.0f} {now:6.0f} µs  x {now / was:4.2f}"
        print(row)


if __name__ == "__main__":
    main()
