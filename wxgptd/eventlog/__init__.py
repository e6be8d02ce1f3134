r"""The event log: an append-only sequence of events in segment files. Format version 3.

All integers are big-endian. A log is a directory of segments, each named by the sequence number
of its first event in 20 digits: ``00000000000000000001.wxlog``. The names sort in event order.

A segment is a header, then frames, then a footer once it is sealed:

========  =====================================================================================
header    ``WXGPTLOG``, u16 format version, u16 zero, u64 first sequence number,
          u64 creation time (ms since the epoch), u32 checksum key,
          u32 CRC-32 of the preceding bytes
frame     ``WXFR``, u32 length of the payload, u64 sequence number of its first event,
          u32 number of events, u32 CRC-32 of (checksum key, preceding 20 bytes, payload);
          then the payload
footer    the same 24 bytes with ``WXEN``, length 0, the next sequence number, 0 events
========  =====================================================================================

A frame is a *commit group*: the events that one fsync made durable and that were acknowledged
together. Each frame has its own checksum, which is not chained to the previous frame's, so that
damage in one place does not hide the frames after it. The key is random for each segment and goes
into every checksum, so text that a user sent can never pass for a frame.

A payload is a msgpack array of events, each an array
``[tag, version, at, reference, previous, carried, sealed]``: the kind of event and the version of
its fields (`codec`), seconds since the epoch, the user's reference, the number of earlier events
of that user, and the event's content as a packed array: the session that it belongs to, or an
empty string, and then its fields. Fields that hold what a user or a model said are nil there;
their values are in ``sealed``, a packed array encrypted with the user's key. The reference is the
account, a colon, and a random number; only the keyring (`keyring`), which is not part of the log,
knows which user it belongs to. Deleting a user's key from the keyring erases that user from the
log and from every copy of it.

``sealed`` is a 12-byte nonce followed by AES-256-GCM ciphertext, with
``reference:previous:tag:version`` as associated data. It decrypts only in its own event:
ciphertext moved from another event does not decrypt. The rest of an event is not authenticated.

If a ``sealed`` consists of hyphens only, what was said has been removed: its session was deleted
(`deleting`), or the event was moved after its key had been lost.

**Earlier formats** (`formats`). In format 2, ``carried`` has no session, and ``sealed`` has no
associated data. Such segments are not rewritten; the next start seals an open one and begins a
new segment. In format 1, events are ``[tag, version, at, account, openid, previous, fields]`` in
the clear; the next start rewrites such a log.

Zeros after the last frame, or after the footer, are *room*: the writer fills an open segment with
zeros ahead of its end (`room`), and cuts them off when it seals the segment.

**Torn or damaged.** A tail is *torn* if no valid frame or footer follows the first bad byte of
the last, unsealed segment, and not all bytes from there on are zero. This is what a crash leaves:
none of its events was ever acknowledged, and the next start trims it and keeps a copy as
``*.broken``. Every other failed check is *damage*: the daemon refuses to start and changes
nothing. (In an open segment, a flipped bit in the last frame cannot be distinguished from a torn
tail. In a sealed segment, the footer protects the last frame as well.)

**Writing.** Events are durable when the fdatasync that follows their frame has returned, and are
acknowledged only then. A new segment is durable when its directory has been synced as well. A
failed write or sync is final: the writer stops, and the next start recovers the log. Recovery
rewrites an open segment, because its contents may never have been synced.

**Starting.** Snapshots (`snapshot`) may lie beside the segments: the states of all users as of
one event. Startup reads the columns of the newest valid one and the events after it (`loading`).
Segments that all snapshots cover may be dropped, oldest first (`retention`): the log then begins
later than event 1, and a snapshot takes the place of the dropped events.

Only `store`, the log as the service sees it, knows about the reactor and returns Deferreds.
"""
