"""The shared log on NATS JetStream. Implements `wxgptd.ports.replica.Replica`.

Messages are always fetched by their sequence number: a consumer stalls for many seconds after the
server that it was on has died. What arrives on the log's subject is only taken as a sign that there
may be something new, for it arrives even if the stream has refused it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, BadRequestError, NotFoundError
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from wxgptd.errors import WxgptError
from wxgptd.ports.appending import (
    Group,
    ReplicaRefused,
    ReplicaUnavailable,
    Superseded,
)
from wxgptd.ports.replica import Beat, Bounds, Claim, Listener, Message
from wxgptd.replication import messages
from wxgptd.replication.connection import TRANSIENT, Access, Connection
from wxgptd.replication.streams import Identity, Names
from wxgptd.wording import say

T = TypeVar("T")

MAX_GROUP_BYTES = 4 * 1024 * 1024
HEADERS_BYTES = 4 * 1024
"""What an append needs beside the payload."""

ASK_FOR_S = 3.0
"""How long a question from the reactor waits for the servers."""

ASK_AGAIN_AFTER_S = 0.5

WRONG_LAST = 10071
_EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
_ID = "Nats-Msg-Id"


class Node(NamedTuple):
    """A node: its cluster, its name, and digests of its keys for that cluster."""

    cluster: str
    name: str
    run: str
    master: bytes
    link_key: bytes


class NatsReplica:
    """The shared log of a cluster, as `node` sees it.

    `in_reactor` runs a function in the reactor's thread.
    """

    def __init__(
        self, access: Access, node: Node, in_reactor: Callable[[Callable[[], None]], None]
    ) -> None:
        self._node = node
        self._names = Names.of(node.cluster)
        self._in_reactor = in_reactor
        self._connection = Connection(access, f"wxgptd {node.name}")
        self.begins_after = 0
        self.appending = NatsAppending(self._connection, self._names, node)

    @property
    def connected_since(self) -> float | None:
        """Since when there is a connection to a server."""
        return self._connection.connected_since

    def start(self, listener: Listener) -> Deferred[None]:
        """Connect; see `wxgptd.ports.replica.Replica`."""
        return self._ask(self._start(listener), within_s=None)

    async def _start(self, listener: Listener) -> None:
        await self._connection.connect()
        await self._require_identity()

        def heard(message: Msg) -> None:
            with contextlib.suppress(ValueError):
                beat = messages.unpack_beat(message.data, self.appending.key)
                if beat.run != self._node.run:
                    self._in_reactor(lambda: listener.hear(beat))

        names, in_reactor = self._names, self._in_reactor
        for subject, take in (
            (names.beat, heard),
            (names.log_subject, lambda _: in_reactor(listener.changed)),
            (names.wanted, lambda message: in_reactor(lambda: listener.wanted(message.data))),
            (names.live, lambda message: in_reactor(lambda: listener.live(message.data))),
        ):
            await self._connection.subscribe(subject, take)

    async def _require_identity(self) -> None:
        """Check that this node has the cluster's keys.

        Raises:
            ReplicaRefused: it has not, or there is no such cluster.
        """
        node, connection = self._node, self._connection
        try:
            info = await connection.persist(lambda: connection.streams.stream_info(self._names.log))
        except NotFoundError:
            raise ReplicaRefused(
                say("there is no cluster {cluster} on these NATS servers", cluster=node.cluster),
                hint=say("`wxgpt cluster init` creates it, on the node whose log goes on"),
            ) from None
        identity = Identity.read(info.config.metadata)
        if identity is None:
            raise ReplicaRefused(
                say("the stream {log} was not made by wxgptd", log=self._names.log)
            )
        self.begins_after = identity.after
        self.appending.cluster_id = identity.id
        self.appending.key = messages.key_for(node.master, identity.id)
        own = Identity.of(identity.id, node.master, node.link_key, identity.after)
        for what, ours, theirs in (
            ("master key", own.master, identity.master),
            ("link key", own.link, identity.link),
        ):
            if ours != theirs:
                raise ReplicaRefused(
                    say(
                        "the cluster {cluster} has another {what}", cluster=node.cluster, what=what
                    ),
                    hint=say("`wxgpt backup` on a node of the cluster, and `wxgpt restore` here"),
                )

    def bounds(self) -> Deferred[Bounds]:
        """Fire with the places of the first and the last message."""
        return self._ask(self._connection.bounds(self._names.log))

    def read(self, place: int, most: int) -> Deferred[Sequence[Message]]:
        """Fire with at most `most` messages from `place` on, as far as a server has them."""
        return self._ask(self._read(place, most))

    async def _read(self, place: int, most: int) -> list[Message]:
        found = await asyncio.gather(
            *(self._message(self._names.log, seq=place + n) for n in range(most))
        )
        read: list[Message] = []
        for message in found:
            if message is None:
                break
            read.append(messages.unpack(message.data or b"", self.appending.key))
        return read

    async def _message(
        self, stream: str, *, seq: int | None = None, subject: str | None = None
    ) -> RawStreamMsg | None:
        connection = self._connection
        with contextlib.suppress(NotFoundError):
            return await connection.persist(
                lambda: connection.streams.get_msg(
                    stream, seq=seq, subject=subject, direct=seq is not None
                )
            )
        return None

    def keys(self, references: Sequence[str]) -> Deferred[Mapping[str, bytes]]:
        """Fire with the records of these references' keys; deleted ones are missing."""
        return self._ask(self._keys(references))

    async def _keys(self, references: Sequence[str]) -> Mapping[str, bytes]:
        found = await self._stored_keys(references)
        if missing := [each for each in references if each not in found]:
            await asyncio.sleep(ASK_AGAIN_AFTER_S)  # a leader that was just elected may lack some
            found |= await self._stored_keys(missing)
        return found

    async def _stored_keys(self, references: Sequence[str]) -> dict[str, bytes]:
        found = await asyncio.gather(
            *(
                self._message(self._names.keys, subject=self._names.key(reference))
                for reference in references
            )
        )
        pairs = zip(references, found, strict=True)
        return {reference: message.data or b"" for reference, message in pairs if message}

    def claim(self, claim: Claim, after: int) -> Deferred[int]:
        """Append `claim` after the message at place `after`; fires with its place."""
        return self._ask(self.appending.claim(claim, after))

    def erase(self, references: Sequence[str]) -> Deferred[None]:
        """Delete the keys of these references for good."""
        return self._ask(self.appending.delete(references))

    def tell(self, beat: Beat) -> None:
        """Send a beat to the other nodes, if there is a connection."""
        self._connection.publish(self._names.beat, messages.pack_beat(beat, self.appending.key))

    def want(self, data: bytes) -> None:
        """Send `data` to the `wanted` of the other nodes, if there is a connection."""
        self._connection.publish(self._names.wanted, data)

    def show(self, data: bytes) -> None:
        """Send `data` to the `live` of the other nodes, if there is a connection."""
        self._connection.publish(self._names.live, data)

    def stop(self) -> Deferred[None]:
        """Disconnect. An append that is under way fails."""
        return self._fired_by(self._connection.close())

    def _ask(
        self, work: Coroutine[object, object, T], within_s: float | None = ASK_FOR_S
    ) -> Deferred[T]:
        if self._connection.is_closing:
            work.close()
            return fail(ReplicaUnavailable(say("the connection to the NATS servers was closed")))
        return self._fired_by(self._connection.call(_within(work, within_s)))

    def _fired_by(self, future: Future[T]) -> Deferred[T]:
        def cancel(_: Deferred[T]) -> None:
            future.cancel()

        result: Deferred[T] = Deferred(cancel)

        def fire() -> None:
            if result.called:
                return
            try:
                value = future.result()
            except (WxgptError, ValueError) as error:
                result.errback(error)
            except (*TRANSIENT, APIError, FutureCancelledError) as error:
                unavailable = ReplicaUnavailable(
                    say("the NATS servers do not answer: {error!r}", error=error)
                )
                result.errback(Failure(unavailable))
            except Exception:  # noqa: BLE001 (a bug must not leave the caller waiting)
                result.errback(Failure())
            else:
                result.callback(value)

        future.add_done_callback(lambda _: self._in_reactor(fire))
        return result


class NatsAppending:
    """Appends to the shared log. Implements `wxgptd.ports.replica.Appending`."""

    def __init__(self, connection: Connection, names: Names, node: Node) -> None:
        self._connection = connection
        self._names = names
        self._node = node
        self._run = node.run
        self.cluster_id = ""
        self.key = b""

    @property
    def max_bytes(self) -> int:
        """The size that a group's payload should not exceed: half of what the servers accept."""
        accepted = self._connection.client.max_payload - HEADERS_BYTES
        return min(MAX_GROUP_BYTES, accepted // 2)

    def append(self, group: Group, keys: Mapping[str, bytes], after: int) -> int:
        """Append `group` after the message at place `after`; return its place."""
        return self._connection.call(self._append(group, keys, after)).result()

    async def _append(self, group: Group, keys: Mapping[str, bytes], after: int) -> int:
        await asyncio.gather(*(self._put_key(*item) for item in keys.items()))
        identifier = f"{self._run}-{group.first_seq}"
        try:
            return await self.publish(messages.pack(group, self.key), identifier, after)
        except Superseded:  # the node that leads makes keys of its own for these users
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.delete(keys), ASK_FOR_S)
            raise

    def renew(self, first_seq: int, after: int) -> int:
        """Append a claim of the node that leads already; return its place."""
        claim = Claim(first_seq, self._node.name, self._run)
        return self._connection.call(self.claim(claim, after)).result()

    async def claim(self, claim: Claim, after: int) -> int:
        """Append a claim after the message at place `after`; return its place."""
        return await self.publish(
            messages.pack(claim, self.key), f"{self._run}-claim-{after}", after
        )

    async def _put_key(self, reference: str, record: bytes) -> None:
        headers = {_ID: f"{self._run}-key-{reference[-16:]}"}
        connection, names = self._connection, self._names
        await connection.persist(
            lambda: connection.streams.publish(
                names.key(reference), record, stream=names.keys, headers=dict(headers)
            ),
            self._require_same_cluster,
        )

    async def publish(self, data: bytes, identifier: str, after: int) -> int:
        """Append a message after the one at place `after`; return its place.

        It may be sent several times: the servers recognise `identifier`, and return the place of
        the message that they have stored.

        Raises:
            Superseded: there is another message since.
        """
        connection, names = self._connection, self._names
        headers = {_EXPECTED_LAST: str(after), _ID: identifier}
        while True:
            try:
                stored = await connection.persist(
                    lambda: connection.streams.publish(
                        names.log_subject, data, stream=names.log, headers=dict(headers)
                    ),
                    self._require_same_cluster,
                )
            except BadRequestError as error:
                if error.err_code != WRONG_LAST:
                    raise
                await self._require_same_cluster()
                bounds = await self._connection.bounds(names.log)
                if bounds.last < after:
                    raise Superseded(
                        say("the cluster's log was replaced by another one")
                    ) from error
                if bounds.last > after:
                    return await self._own(identifier, after + 1)
                # The servers sometimes say so although it is not true; and once they have dropped
                # all messages by age, they expect 0.
                headers[_EXPECTED_LAST] = str(after if bounds.first <= after else 0)
                await asyncio.sleep(0.01)
            else:
                return stored.seq

    async def _require_same_cluster(self) -> None:
        """Check that the streams have not been deleted or replaced, if a server can tell.

        Raises:
            Superseded: they have.
        """
        connection, names = self._connection, self._names
        try:
            info = await connection.streams.stream_info(names.log)
            await connection.streams.stream_info(names.keys)
        except NotFoundError:
            raise Superseded(say("the cluster's streams are gone")) from None
        except (*TRANSIENT, APIError):
            return
        identity = Identity.read(info.config.metadata)
        if identity is None or identity.id != self.cluster_id:
            raise Superseded(say("the cluster was created again"))

    async def _own(self, identifier: str, place: int) -> int:
        """Return `place` if the message there has that identifier.

        Raises:
            Superseded: another node's message is there.
        """
        connection = self._connection
        found = await connection.persist(
            lambda: connection.streams.get_msg(self._names.log, seq=place)
        )
        if (found.headers or {}).get(_ID) == identifier:
            return place
        raise Superseded(say("another node has taken the lead"))

    def erase(self, references: Sequence[str]) -> None:
        """Delete the keys of these references for good."""
        self._connection.call(self.delete(references)).result()

    async def delete(self, references: Iterable[str]) -> None:
        """Delete the keys of these references, on the disks as well."""
        await asyncio.gather(*map(self._delete, references))

    async def _delete(self, reference: str) -> None:
        connection, names = self._connection, self._names
        subject = names.key(reference)
        with contextlib.suppress(NotFoundError):
            found = await connection.persist(
                lambda: connection.streams.get_msg(names.keys, subject=subject)
            )
            place = found.seq or 0
            await connection.persist(lambda: connection.streams.delete_msg(names.keys, place))


async def _within(work: Coroutine[object, object, T], seconds: float | None) -> T:
    return await asyncio.wait_for(work, seconds)
