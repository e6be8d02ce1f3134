"""How many users get no reply when the daemon is killed and restarted seconds later?

    python bench/outage.py [--seconds 1 3 5 8] [--rate 5]

`--rate` questions arrive per second, each from a different user. Halfway through, the daemon is
killed, and restarted after `--seconds`. The users behave like WeChat, with its real timeouts: three
attempts of five seconds, each on a new connection. While the daemon is down, connections are
refused, or wait in the queue of a socket that systemd would hold open. Answers take 6 s at the
median and 40 s at most.

A question whose last attempt falls entirely within the outage cannot be saved; these are counted
separately ("beyond"). The exit status is 1 if any other question got no reply.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import time
from collections import Counter

import load
import support

LATENCY = load.Latency(6.0, 40.0)


async def outage(
    daemon: support.Daemon,
    users: load.Load,
    asked: int,
    asking_s: float,
    away_s: float,
    *,
    queued: bool,
) -> Counter[str]:
    """Kill the daemon while questions arrive; return the number of questions by outcome."""
    await users.open()

    async def ask(user: int) -> load.Outcome:
        await asyncio.sleep(asking_s * user / asked)
        return await users.ask(user, user)

    async def strike() -> float:
        await asyncio.sleep(asking_s / 2)
        daemon.kill()
        await asyncio.sleep(away_s)
        daemon.start()
        await asyncio.to_thread(support.wait_for, daemon.port, "/readyz")
        return time.monotonic()

    striking = asyncio.create_task(strike())
    outcomes = await asyncio.gather(*(ask(user) for user in range(asked)))
    back_at = await striking
    waits_s = load.PATIENCE_S if queued else 0.0
    return Counter(
        "beyond"
        if outcome.kind == "lost" and outcome.attempt_at + waits_s < back_at
        else outcome.kind
        for outcome in outcomes
    )


def measure(
    url: str, asked: int, asking_s: float, away_s: float, *, queued: bool
) -> tuple[str, int]:
    """Return one outage's outcomes as a table row, and how many questions got no reply."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1_024) if queued else None
    with support.Daemon(
        model=url, extra="[window]\ndeliberate_timeouts_per_5min = 1000000\n", listening=listening
    ) as daemon:
        users = load.Load(daemon.port, "/wx/main", asked, asking_s, 0)
        counts = asyncio.run(outage(daemon, users, asked, asking_s, away_s, queued=queued))
    if listening is not None:
        listening.close()
    complete = sum(count for kind, count in counts.items() if kind.startswith("attempt"))
    cells = [f"{away_s:g} s, {'queued' if queued else 'refused'}".ljust(14), f"{asked:>5}"]
    cells += [f"{number:>8}" for number in (complete, counts["partial"], counts["link"])]
    unanswered = counts["lost"] + counts["refused"]
    cells += [f"{number:>8}" for number in (unanswered, counts["beyond"])]
    return " | ".join(cells), unanswered


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 3.0, 5.0, 8.0])
    parser.add_argument("--rate", type=float, default=5.0)
    parser.add_argument("--asking", type=float, default=15.0, help="how long users ask, in seconds")
    options = parser.parse_args()
    support.raise_file_limit()
    port = support.free_port()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=load.run_model, args=(port, LATENCY, theirs))
    server.start()
    assert ours.recv() == "listening"
    names = ("complete", "partial", "link", "no reply", "beyond")
    print(
        " | ".join(["down for".ljust(14), "asked", *(f"{name:>8}" for name in names)]), flush=True
    )
    lost = 0
    try:
        for away_s in options.seconds:
            for queued in (False, True):
                url = f"http://127.0.0.1:{port}/v1"
                asked = round(options.rate * options.asking)
                line, unanswered = measure(url, asked, options.asking, away_s, queued=queued)
                lost += unanswered
                print(line, flush=True)
    finally:
        ours.send("stop")
        server.join(10)
        server.kill()
    raise SystemExit(bool(lost))


if __name__ == "__main__":
    main()
