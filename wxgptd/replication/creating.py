"""Create a cluster's streams, and look at the servers that keep them. For the command line."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from nats.js.errors import APIError, NotFoundError

from wxgptd.errors import WxgptError
from wxgptd.replication import streams
from wxgptd.replication.connection import TRANSIENT, Access, Connection
from wxgptd.replication.streams import Identity, Names
from wxgptd.wording import say

WAIT_S = 10.0

_EXISTS = 10058
_TOO_FEW_SERVERS = (10005, 10052, 10074)


class CannotCreate(WxgptError):
    """the cluster cannot be created"""


class StreamFacts(NamedTuple):
    """A stream: its copies and where they are, and how many of them are current."""

    name: str
    copies: int
    servers: Sequence[str]
    current: int
    messages: int
    bytes: int


class ServerFacts(NamedTuple):
    """What the server that was reached says about itself."""

    name: str
    version: str
    max_payload: int


class Servers:
    """The NATS servers of a cluster, for one command."""

    def __init__(self, connection: Connection, cluster: str) -> None:
        self._connection = connection
        self._names = Names.of(cluster)
        self._cluster = cluster

    def identity(self) -> Identity | None:
        """Return the identity of the cluster, or None if it has not been created."""
        return self._connection.call(self._identity()).result(WAIT_S)

    async def _identity(self) -> Identity | None:
        try:
            info = await self._connection.streams.stream_info(self._names.log)
        except NotFoundError:
            return None
        return Identity.read(info.config.metadata)

    def create(
        self, master: bytes, link_key: bytes, after: int, keep_s: float, copies: int
    ) -> Identity:
        """Create the streams of a cluster whose log begins after event `after`.

        Raises:
            CannotCreate: it exists, or there are too few servers for so many copies.
        """
        identity = Identity.of(secrets.token_hex(8), master, link_key, after)
        self._connection.call(self._create(identity, keep_s, copies)).result(2 * WAIT_S)
        return identity

    async def _create(self, identity: Identity, keep_s: float, copies: int) -> None:
        try:
            for config in (
                streams.key_stream(self._names, copies),
                streams.log_stream(self._names, identity, keep_s, copies),
            ):
                await self._connection.streams.add_stream(config)
        except APIError as error:
            if error.err_code == _EXISTS:
                raise CannotCreate(
                    say("the cluster {cluster} exists already", cluster=self._cluster),
                    hint=say("`wxgpt cluster status` shows it"),
                ) from error
            if error.err_code in _TOO_FEW_SERVERS:
                raise CannotCreate(
                    say(
                        "these NATS servers cannot keep {copies} copies: {description}",
                        copies=copies,
                        description=error.description,
                    ),
                    hint=say(
                        "three servers are needed; to try it out with a single one: --copies 1"
                    ),
                ) from error
            raise CannotCreate(
                say("the NATS servers refuse: {description}", description=error.description)
            ) from error

    def hears_a_node(self, within_s: float) -> bool:
        """Return whether a node of the cluster sends a beat within that time."""
        return self._connection.call(self._hears(within_s)).result(within_s + WAIT_S)

    async def _hears(self, within_s: float) -> bool:
        heard = asyncio.Event()
        await self._connection.subscribe(self._names.beat, lambda _: heard.set())
        try:
            await asyncio.wait_for(heard.wait(), within_s)
        except TimeoutError:
            return False
        return True

    def delete(self) -> None:
        """Delete the streams of the cluster, if there are any."""
        self._connection.call(self._delete()).result(WAIT_S)

    async def _delete(self) -> None:
        for name in (self._names.log, self._names.keys):
            with suppress(NotFoundError):
                await self._connection.streams.delete_stream(name)

    def streams(self) -> Sequence[StreamFacts]:
        """Return the facts about both streams."""
        return self._connection.call(self._streams()).result(WAIT_S)

    async def _streams(self) -> list[StreamFacts]:
        facts = []
        for name in (self._names.log, self._names.keys):
            info = await self._connection.streams.stream_info(name)
            peers = info.cluster.replicas or [] if info.cluster is not None else []
            leader = info.cluster.leader or "" if info.cluster is not None else ""
            facts.append(
                StreamFacts(
                    name=name,
                    copies=info.config.num_replicas or 1,
                    servers=[leader, *(peer.name or "" for peer in peers)],
                    current=1 + sum(bool(peer.current) for peer in peers),
                    messages=info.state.messages,
                    bytes=info.state.bytes,
                )
            )
        return facts

    def server(self) -> ServerFacts:
        """Return what the server that was reached says about itself."""
        client = self._connection.client
        version = streams.Version.of(client.connected_server_version)
        return ServerFacts(self._connection.where, str(version), client.max_payload)


@contextmanager
def reached(access: Access, cluster: str) -> Iterator[Servers]:
    """Connect to the NATS servers for as long as the block runs.

    Raises:
        WxgptError: they cannot be reached.
    """
    connection = Connection(access, "wxgpt", patient=False)
    try:
        connection.call(connection.connect()).result(WAIT_S)
        yield Servers(connection, cluster)
    except (*TRANSIENT, APIError) as error:
        why = str(error) or type(error).__name__
        raise WxgptError(
            say("the NATS servers do not answer: {why}", why=why),
            hint=say("are they running? {servers}", servers=", ".join(access.servers)),
        ) from error
    finally:
        connection.close().result(WAIT_S)
