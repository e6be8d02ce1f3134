"""What the service needs from outside; tests pass fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from wxgptd.config import Config
from wxgptd.errors import WxgptError
from wxgptd.outbound.client import HttpClient
from wxgptd.ports.keys import ShortLivedKeys
from wxgptd.ports.store import EventStore
from wxgptd.ports.threads import Threads


@dataclass(frozen=True, slots=True)
class Environment:
    """What the service needs from outside."""

    clock: IReactorTime
    wall: Callable[[], float]
    store: EventStore
    http: HttpClient
    http_through: Callable[[str], HttpClient]
    threads: Threads
    max_running: int
    link_key: bytes
    short_lived_keys: ShortLivedKeys
    config_path: Path
    reread: Callable[[], Config]
    on_damage: Callable[[WxgptError], None]
