"""Write the next log fixture: the newest one, continued with events of a new kind.

    python -m tests.support.continue_log carol "StandingChanged(1.8e9, Standing.BLOCKED, 0.0)"

tests/fixtures/logs has every kind of event ever written, and a fixture is never rewritten. A new
kind needs a new one, and so does a new version of an event.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.injuries import MASTER
from wxgpt.log import rendering
from wxgptd.domain.evolve import EMPTY, evolve, session_of
from wxgptd.domain.model import events, values
from wxgptd.domain.model.events import Event
from wxgptd.domain.model.values import User
from wxgptd.eventlog import codec, reader, segments
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.store import LogStore
from wxgptd.ports.record import Recorded

LOGS = Path(__file__).parent.parent / "fixtures" / "logs"


def records_of(directory: Path) -> list[Recorded]:
    """Return the events of a log fixture of format 2 or later."""
    keys = Keyring(segments.keyring_path(directory), MASTER)
    return [
        codec.require(record) for record in reader.scan(segments.log_directory(directory), keys)
    ]


def continue_log(source: Path, target: Path, openid: str, new: Sequence[Event]) -> None:
    """Copy the log `source` to `target`, and append `new` events of one of its users."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("reserve", "lock"))
    own = [record for record in records_of(target) if record.user.openid == openid]
    if not own:
        raise SystemExit(f"{source.name} has no user {openid} who was not erased")
    state = EMPTY
    for record in own:
        state = evolve(state, record.event)
    in_sessions = []
    for event in new:
        state = evolve(state, event)
        in_sessions.append((session_of(state, event), event))
    store = LogStore(
        target, MASTER, Turns(lambda work: work(), lambda work: None), StoreListener(print, print)
    )
    store.load({})
    store.start()
    store.append(own[0].user, in_sessions, len(own))
    store.close()
    for leftover in ("reserve", "lock"):
        for path in target.rglob(leftover):
            path.unlink()
    lines = [
        json.dumps(rendering.as_json(record), ensure_ascii=False) for record in records_of(target)
    ]
    (target / "events.ndjson").write_text("".join(f"{line}\n" for line in lines), "utf-8")


def newest() -> Path:
    """Return the newest log fixture."""
    return max(LOGS.iterdir(), key=lambda path: int(path.name.removeprefix("v")))


def main(openid: str, *expressions: str) -> None:
    names = {**vars(values), **vars(events), "User": User}
    new = [eval(expression, names) for expression in expressions]
    target = LOGS / f"v{int(newest().name.removeprefix('v')) + 1}"
    continue_log(newest(), target, openid, new)
    print(f"wrote {target}; add it to the docstring of tests/eventlog/test_golden.py")


if __name__ == "__main__":
    main(*sys.argv[1:])
