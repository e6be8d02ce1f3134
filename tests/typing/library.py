"""The types of what other programs may import: checked by mypy, never run.

A log can be read, folded and verified without the daemon. What is inferred here is what an editor
shows to the author of such a program, so a change of these types is a change of the interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

from wxgptd import __version__
from wxgptd.config import Config, load
from wxgptd.config.values import Duration
from wxgptd.domain.decide.commands import Command
from wxgptd.domain.decide.decider import decide, recover
from wxgptd.domain.evolve import evolve, fold
from wxgptd.domain.model.events import Event
from wxgptd.domain.model.session import Session
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.errors import WxgptError
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.verifying import SegmentInfo, Verdict, inspect, verify


def read_a_configuration(path: Path) -> None:
    config = load(path)
    assert_type(config, Config)
    assert_type(config.server.public_url, str)
    assert_type(config.session.ttl, Duration)
    assert_type(__version__, str)


def read_an_error(error: WxgptError) -> None:
    assert_type(error.hint, str)
    assert_type(error.exit_status, int)


def fold_events(events: list[Event]) -> None:
    state = fold(events)
    assert_type(state, UserState)
    assert_type(evolve(EMPTY, events[0]), UserState)
    assert_type(state.sessions(), Iterator[Session])


def decide_a_command(state: UserState, command: Command) -> None:
    assert_type(decide(state, command), tuple[Event, ...])
    assert_type(recover(state, 0.0, 86_400.0), tuple[Command, ...])


def verify_a_log(directory: Path, keys: Keyring) -> None:
    verdict = verify(directory, keys)
    assert_type(verdict, Verdict)
    assert_type(verdict.is_sound, bool)
    assert_type(inspect(directory), Iterator[SegmentInfo])
