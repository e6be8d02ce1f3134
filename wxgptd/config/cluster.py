"""Mistakes in `[cluster]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from wxgptd.config.tables import Cluster
from wxgptd.config.values import UnavailableSecret, parse_http_url
from wxgptd.wording import say

SHORTEST_SILENCE_S = 1.0
"""A leader sends a beat every 0.4 seconds, so a shorter silence means nothing."""

SHORTEST_KEPT_S = 3_600.0
MAX_PORT = 65_535

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SERVER = re.compile(r"(nats|tls)://[^\s/@]+:[0-9]{1,5}")


def mistakes(cluster: Cluster) -> Iterator[str]:
    """Yield every mistake, each with its key."""
    if not cluster.name:
        if cluster != Cluster():
            yield say("cluster.name: is missing; without it, the rest of [cluster] has no effect")
        return
    for key, name in (("name", cluster.name), ("node", cluster.own_name)):
        if not _NAME.fullmatch(name):
            yield say(
                "cluster.{key}: must be letters, digits, - and _, not {name!r}", key=key, name=name
            )
    if not cluster.servers:
        yield say('cluster.servers: is missing, for example ["tls://10.0.0.1:4222"]')
    if len({*cluster.servers}) < len(cluster.servers):
        yield say("cluster.servers: lists a server twice")
    for server in cluster.servers:
        port = server.rpartition(":")[2]
        if port.isdigit() and int(port) > MAX_PORT:
            yield say(
                "cluster.servers: port {port} is out of range, the highest is {max_port}",
                port=port,
                max_port=MAX_PORT,
            )
        if not _SERVER.fullmatch(server):
            yield say(
                'cluster.servers: must be URLs such as "tls://10.0.0.1:4222", not "{server}"',
                server=server,
            )
    if cluster.credentials and not isinstance(cluster.credentials, UnavailableSecret):
        given = cluster.credentials.reveal()
        if ":" not in given and "BEGIN NATS USER JWT" not in given:
            yield say("cluster.credentials: must be user:password, or what a .creds file contains")
    if cluster.ca is not None and not cluster.ca.is_file():
        yield say("cluster.ca: there is no file {ca}", ca=cluster.ca)
    if not cluster.url:
        yield say(
            'cluster.url: is missing: where the other nodes reach this one, "http://10.0.0.1:9005"'
        )
    elif parse_http_url(cluster.url) is None or urlsplit(cluster.url).path not in ("", "/"):
        yield say(
            'cluster.url: must be a URL such as "http://10.0.0.1:9005", not "{url}"',
            url=cluster.url,
        )
    if cluster.dead_after < SHORTEST_SILENCE_S:
        yield say(
            "cluster.dead_after: must be {shortest_silence_s:g}s or more",
            shortest_silence_s=SHORTEST_SILENCE_S,
        )
    if cluster.keep < SHORTEST_KEPT_S:
        yield say("cluster.keep: must be 1h or more")
