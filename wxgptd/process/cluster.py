"""Take part in a cluster: what `[cluster]` in the configuration means for the process."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from twisted.internet.task import deferLater

from wxgptd import __version__, config
from wxgptd.errors import WxgptError
from wxgptd.eventlog import codec
from wxgptd.eventlog.store import LogStore
from wxgptd.ports.appending import ReplicaRefused
from wxgptd.ports.replica import NodeFacts
from wxgptd.process.keys import link_key_path
from wxgptd.service.environment import ClusterPart
from wxgptd.service.wiring import Service
from wxgptd.untyped import Reactor

LAST_COMMITS_S = 3.0
"""How long a stopping node waits for the quorum to store its last events."""


def join(
    configured: config.Config,
    store: LogStore,
    keys: tuple[bytes, bytes],
    in_reactor: Callable[[Callable[[], None]], None],
) -> ClusterPart | None:
    """Return what the service needs for the cluster, or None if none is configured.

    `keys` are the master key and the link key.

    Raises:
        ReplicaRefused: a package is missing.
    """
    cluster = configured.cluster
    if not cluster.name:
        return None
    try:
        from wxgptd.replication.connection import Access  # noqa: PLC0415 (optional)
        from wxgptd.replication.nats import NatsReplica, Node  # noqa: PLC0415 (optional)
    except ModuleNotFoundError as error:
        raise ReplicaRefused(
            f"[cluster] needs the package {error.name}",
            hint="pip install '.[cluster]', in the checkout",
        ) from None
    run = secrets.token_hex(8)
    access = Access(cluster.servers, cluster.credentials.reveal(), cluster.ca)
    replica = NatsReplica(access, Node(cluster.name, cluster.own_name, run, *keys), in_reactor)
    store.replica = replica.appending
    facts = NodeFacts(
        cluster=cluster.name,
        name=cluster.own_name,
        run=run,
        url=cluster.url,
        version=__version__,
        kinds=tuple(tag << 8 | version for tag, version in sorted(codec.VERSIONS.items())),
        dead_after_s=cluster.dead_after,
        renew_after_s=cluster.keep / 8,
    )
    return ClusterPart(replica, store, facts)


def require_keys(configured: config.Config) -> None:
    """Check that a node of a cluster has its keys: it must never make keys of its own.

    Raises:
        WxgptError: they are missing.
    """
    path = link_key_path(configured.server.state_dir)
    if configured.cluster.name and not path.exists():
        raise WxgptError(
            f"{path} is missing: a node of a cluster needs the cluster's keys",
            hint="on the first node, `wxgpt cluster init`; on another one, `wxgpt restore` with a "
            "backup of the first",
        )


async def leave(service: Service, store: LogStore, reactor: Reactor) -> None:
    """Leave the cluster, once the last events are stored there or that takes too long."""
    if service.standing is None:
        return
    began = reactor.seconds()
    while store.figures().pending and reactor.seconds() - began < LAST_COMMITS_S:
        await deferLater(reactor, 0.02)
    await service.standing.end()
