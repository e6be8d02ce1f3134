r"""The event log: an append-only sequence of events in segment files. Format version 3.

All integers are big-endian. A log is a directory of segments, each named by the sequence number
of its first event in 20 digits: ``00000000000000000001.wxlog``. The names sort as the events do.

A segment is a header, frames, and a footer once it is sealed:

========  =====================================================================================
header    ``WXGPTLOG``, u16 format version, u16 zero, u64 first sequence number,
          u64 creation time (ms since the epoch), u32 checksum key, u32 CRC-32 of all before
frame     ``WXFR``, u32 length of the payload, u64 sequence number of its first event,
          u32 number of events, u32 CRC-32 of (checksum key, the 20 bytes before, payload);
          then the payload
footer    the same 24 bytes with ``WXEN``, length 0, the next sequence number, number 0
========  =====================================================================================

A frame is a *commit group*: everything that was made durable by one fsync and acknowledged
together. Its checksum is its own and not chained to the frame before, so that damage in one
place hides nothing behind it. The key is random for each segment and goes into every checksum:
text that a user sent can never pass for a frame.

A payload is a msgpack array of events, each an array
``[tag, version, at, reference, previous, carried, sealed]``: the kind of event and the version of
what it carries (`codec`), seconds since the epoch, the user's reference, the number of events of
that user before this one, and what the event carries, as a packed array: the session that it
belongs to, or an empty string, and its fields. Of the fields, what a user or a model has said is
nil, and is in ``sealed``: a packed array, encrypted with the user's key. The reference is the
account, a colon, and a random number; only the keyring (`keyring`), which is no part of the log,
knows whose it is. To delete a key there is to erase a user here, however often the log was copied.

``sealed`` is a nonce of 12 bytes and AES-256-GCM with the associated data
``reference:previous:tag:version``. It decrypts only in its own place. Text that was moved there, or
comes from an older copy of another event, does not. The rest of an event is not authenticated.

**Earlier formats** (`formats`). In format 2, ``carried`` has no session, and ``sealed`` no
associated data. Such a segment stays as it is; a start seals it if it was open, and writes a new
segment. In format 1, events are ``[tag, version, at, account, openid, previous, fields]`` in the
clear; a start rewrites such a log.

**Torn or damaged.** A tail is *torn* if no valid frame or footer follows the first bad byte of
the last, unsealed segment: that is what a crash leaves, no event of it was ever acknowledged,
and it is trimmed at the next start with a copy kept as ``*.broken``. Everything else that does
not check is *damage*: the daemon refuses to start and touches nothing. (In an open segment a bit
that was flipped in the last frame cannot be told from a torn tail. A sealed segment's footer covers
its last frame as well.)

**Writing.** Events are durable when the fdatasync behind their frame has returned, and are
acknowledged then and not before. A new segment is durable when its directory has been synced as
well. A failed write or sync is final: the writer stops, and the next start recovers. That writes an
open segment anew, since what can be read of it may never have been synced.

**Starting.** Beside the segments there may be snapshots (`snapshot`): all users' states behind one
event. A start reads the newest one that checks and what follows it (`loading`). Segments that all
snapshots cover may be dropped, the oldest first (`retention`): then the log begins later than with
event 1, and a snapshot is its beginning.

Bytes, files and the writer's thread know no reactor; only `store`, the log as the service sees it,
hands Deferreds out.
"""
