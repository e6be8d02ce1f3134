"""What the service needs from outside; tests pass fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from wxgptd.config import Config
from wxgptd.errors import WxgptError
from wxgptd.outbound.client import HttpClient, PostingClient
from wxgptd.ports.keys import ShortLivedKeys
from wxgptd.ports.replica import NodeFacts, Replica
from wxgptd.ports.store import EventStore, FollowingStore
from wxgptd.ports.threads import Threads


class ClusterPart(NamedTuple):
    """What a node needs to take part in a cluster; `store` is the same as the environment's."""

    replica: Replica
    store: FollowingStore
    node: NodeFacts


@dataclass(frozen=True, slots=True)
class Environment:
    """What the service needs from outside.

    `model_http` returns the client for calls to models through a proxy, or without one if that
    is empty; `http` makes all other requests. Without a `cluster`, the daemon is alone.
    """

    clock: IReactorTime
    wall: Callable[[], float]
    store: EventStore
    http: HttpClient
    model_http: Callable[[str], PostingClient]
    threads: Threads
    max_running: int
    link_key: bytes
    short_lived_keys: ShortLivedKeys
    config_path: Path
    reread: Callable[[], Config]
    on_damage: Callable[[WxgptError], None]
    cluster: ClusterPart | None = None
