"""The two streams of a cluster: what they are called, and the rules that JetStream enforces.

The log's stream drops messages by age, for all nodes have them by then. The keys' stream keeps one
message per user until it is deleted by its sequence number: of all ways to remove a message, only
that one overwrites it on the servers' disks.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import NamedTuple

from nats.aio.client import ServerVersion
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

LEAST_VERSION = (2, 11, 11)
"""Earlier servers accept several concurrent appends that expect the same last message, or answer a
repeated one with sequence number 0."""

REPEATS_KNOWN_FOR_S = 120.0
"""How long the servers recognise a message that is sent again."""

_ID, _MASTER, _LINK, _AFTER = "wxgptd-id", "wxgptd-master", "wxgptd-link", "wxgptd-after"


class Names(NamedTuple):
    """The names of a cluster's streams and subjects."""

    log: str
    log_subject: str
    keys: str
    key_prefix: str
    beat: str
    live: str
    wanted: str

    @classmethod
    def of(cls, cluster: str) -> Names:
        """Return the names for a cluster."""
        subject = f"wxgptd.{cluster}"
        return cls(
            log=f"wxgptd-{cluster}-log",
            log_subject=f"{subject}.log",
            keys=f"wxgptd-{cluster}-keys",
            key_prefix=f"{subject}.key.",
            beat=f"{subject}.beat",
            live=f"{subject}.live",
            wanted=f"{subject}.wanted",
        )

    def key(self, reference: str) -> str:
        """Return the subject of a key: only the reference's number, which is safe in a subject."""
        return self.key_prefix + reference[-16:]


class Identity(NamedTuple):
    """What all nodes have in common: digests of their keys. The log begins after event `after`.

    A node with another master key could read nothing of what it follows, and one with another link
    key would make links that the others do not know.
    """

    id: str
    master: str
    link: str
    after: int

    @classmethod
    def of(cls, cluster_id: str, master: bytes, link_key: bytes, after: int) -> Identity:
        """Return the identity of a cluster with these keys."""
        return cls(cluster_id, _digest(master, cluster_id), _digest(link_key, cluster_id), after)

    def metadata(self) -> dict[str, str]:
        """Return it as metadata of the log's stream."""
        return {
            _ID: self.id, _MASTER: self.master, _LINK: self.link, _AFTER: str(self.after),
        }  # fmt: skip

    @classmethod
    def read(cls, metadata: dict[str, str] | None) -> Identity | None:
        """Return the identity in a stream's metadata, or None if there is none."""
        values = metadata or {}
        after = values.get(_AFTER, "")
        if not re.fullmatch(r"[0-9]{1,18}", after) or _ID not in values:
            return None
        return cls(values[_ID], values.get(_MASTER, ""), values.get(_LINK, ""), int(after))


def _digest(key: bytes, cluster_id: str) -> str:
    return hmac.digest(key, f"wxgptd: cluster {cluster_id}".encode(), sha256).hex()


def log_stream(names: Names, identity: Identity, keep_s: float, copies: int) -> StreamConfig:
    """Return the configuration of the log's stream."""
    return StreamConfig(
        name=names.log,
        subjects=[names.log_subject],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=keep_s,
        num_replicas=copies,
        duplicate_window=REPEATS_KNOWN_FOR_S,
        deny_purge=True,
        deny_delete=True,
        allow_direct=True,
        metadata=identity.metadata(),
    )


def key_stream(names: Names, copies: int) -> StreamConfig:
    """Return the configuration of the keys' stream."""
    return StreamConfig(
        name=names.keys,
        subjects=[f"{names.key_prefix}*"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_msgs_per_subject=1,
        num_replicas=copies,
        duplicate_window=REPEATS_KNOWN_FOR_S,
        allow_direct=True,
    )


class Version(NamedTuple):
    """The version of a server."""

    major: int
    minor: int
    patch: int

    @classmethod
    def of(cls, version: ServerVersion) -> Version:
        """Return the version that nats-py knows."""
        return cls(version.major, version.minor, version.patch)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"
