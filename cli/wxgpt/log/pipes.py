"""Ship a log to a second machine, and receive one: the loops of `wxgpt log ship` and `receive`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from wxgpt.log.watch import Watch
from wxgptd.eventlog import segments
from wxgptd.eventlog.shipping.messages import Beat, Message, Packer, StreamEnded, Unpacker
from wxgptd.eventlog.shipping.progress import write_progress
from wxgptd.eventlog.shipping.receiving import Receiver
from wxgptd.eventlog.shipping.sending import Position, Sender

BEAT_S = 5.0
"""How often to send a sign of life."""

REPORT_S = 10.0
"""How often a receiver that is catching up says how far it is."""


def ship(
    state_dir: Path, master: bytes, after: Position, out: IO[bytes], *, follow: bool = True
) -> None:
    """Write the events after `after` to `out`, and if `follow`, whatever is written from then on.

    Raises:
        BrokenPipeError: the other end has gone.
        CannotShip: the next event is no longer in the log.
    """
    sender, packer = Sender(state_dir, after), Packer(master)
    out.write(packer.preamble)

    def send(messages: Iterator[Message]) -> None:
        for message in messages:
            out.write(packer.pack(message))
        out.flush()

    watch = Watch(segments.log_directory(state_dir))
    try:
        send(sender.hello())
        while True:
            send(sender.poll())
            send(iter([sender.beat()]))
            write_progress(state_dir, sender.sent_seq)
            if not follow:
                return
            beat_at = time.monotonic() + BEAT_S
            while not watch.wait(beat_at - time.monotonic()) and time.monotonic() < beat_at:
                pass
    finally:
        watch.close()


def receive(
    receiver: Receiver, master: bytes, source: IO[bytes], report: Callable[[int], None]
) -> None:
    """Apply the stream in `source` to its end; `report` is told event numbers now and then.

    Raises:
        StreamRefused: the stream contradicts what the directory has, or is none.
    """
    said_at = time.monotonic()
    try:
        unpacker = Unpacker(source.read, master)
        while True:
            message = unpacker.next()
            receiver.take(message)
            if isinstance(message, Beat):
                receiver.settle()
            elif time.monotonic() >= said_at + REPORT_S:
                report(receiver.position.seq)
                said_at = time.monotonic()
    except StreamEnded:
        receiver.settle()
