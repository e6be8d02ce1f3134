"""Mistakes in `[cluster]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from wxgptd.config.tables import Cluster
from wxgptd.config.values import parse_http_url

SHORTEST_SILENCE_S = 1.0
"""A leader sends a beat every 0.4 seconds, so a shorter silence means nothing."""

SHORTEST_KEPT_S = 3_600.0

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SERVER = re.compile(r"(nats|tls)://[^\s/@]+:[0-9]{1,5}")


def mistakes(cluster: Cluster) -> Iterator[str]:
    """Yield every mistake, each with its key."""
    if not cluster.name:
        if cluster != Cluster():
            yield "cluster.name: is missing; without it, the rest of [cluster] has no effect"
        return
    for key, name in (("name", cluster.name), ("node", cluster.own_name)):
        if not _NAME.fullmatch(name):
            yield f"cluster.{key}: must be letters, digits, - and _, not {name!r}"
    if not cluster.servers:
        yield 'cluster.servers: is missing, for example ["tls://10.0.0.1:4222"]'
    for server in cluster.servers:
        if not _SERVER.fullmatch(server):
            yield f'cluster.servers: must be URLs such as "tls://10.0.0.1:4222", not "{server}"'
    if not cluster.url:
        yield 'cluster.url: is missing: where the other nodes reach this one, "http://10.0.0.1:9005"'
    elif parse_http_url(cluster.url) is None or urlsplit(cluster.url).path not in ("", "/"):
        yield f'cluster.url: must be a URL such as "http://10.0.0.1:9005", not "{cluster.url}"'
    if cluster.dead_after < SHORTEST_SILENCE_S:
        yield f"cluster.dead_after: must be {SHORTEST_SILENCE_S:g}s or more"
    if cluster.keep < SHORTEST_KEPT_S:
        yield "cluster.keep: must be 1h or more"
