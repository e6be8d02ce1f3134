"""State directories with very many users, each with ten events: a session with one question."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from replay import BEGAN_AT, conversation, write_groups

from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import NO_SESSION, AccountName, OpenId, SessionId, User
from wxgptd.eventlog import codec, key_file, segments
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.user_key import KEY_BYTES, UserKey

MONTH_S = 30 * 86_400.0
QUARTER_S = 900.0
AGES = 500


def user_number(number: int) -> User:
    """Return one of the users."""
    return User(AccountName("main"), OpenId(f"oPopulation{number:017d}"))


def write(state_dir: Path, users: int, active: int, master: bytes, now: float) -> None:
    """Write the log and the keys of `users` users, of whom `active` wrote in the last 15 minutes.

    All others did within a month, evenly; the sessions of all have ended.
    """
    directory = segments.log_directory(state_dir)
    segments.make_private_directory(segments.keys_directory(state_dir))
    segments.make_private_directory(directory)
    keys = Keyring(Path("/nowhere"), master)
    with segments.keyring_path(state_dir).open("wb") as file:
        file.write(key_file.pack_head(time.time() - MONTH_S))
        file.write(keys.record(UserKey("", User(AccountName(""), OpenId("")), b"")))

        def entries() -> Iterator[codec.Entry]:
            quiet = users - active
            for number in range(users):
                if number < quiet:
                    age_s = QUARTER_S + MONTH_S * (1 - number // max(1, quiet // AGES) / AGES)
                else:
                    age_s = QUARTER_S * (1 - (number - quiet) // max(1, active // AGES) / AGES)
                reference = f"main:{secrets.token_hex(8)}"
                key = UserKey(reference, user_number(number), secrets.token_bytes(KEY_BYTES))
                file.write(keys.record(key))
                for previous, (session, event) in enumerate(_told(now - max(60.0, age_s))):
                    yield codec.encode(key, previous, session, event)

        write_groups(directory, entries())


def _told(at: float) -> Sequence[tuple[SessionId, e.Event]]:
    """Return the events of one user, who asked at about `at`."""
    told = _CACHE.get(at)
    if told is None:
        if len(_CACHE) > AGES:
            _CACHE.clear()
        shift = at - BEGAN_AT
        told = _CACHE[at] = [
            (session, dataclasses.replace(event, at=event.at + shift)) for session, event in _STORY
        ]
    return told


_CACHE: dict[float, list[tuple[SessionId, e.Event]]] = {}
_STORY = [
    (NO_SESSION if isinstance(event, e.CommandGiven) else SessionId("0000000001"), event)
    for event in conversation(0, turns=1)
]
assert len(_STORY) == 10
