"""The first startup of a new version on a full disk: it works, and leaves nothing half done."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgpack
import pytest

from tests.support import injuries
from tests.support.injuries import keyring_of
from wxgptd.domain.model import events as e
from wxgptd.eventlog import codec, framing, loading, packing, recovery, segments
from wxgptd.eventlog.disk import DISK, Reserve

pytestmark = pytest.mark.processes
BLOCK_BYTES = 4096


@pytest.fixture
def small(tmp_path):
    """A log directory on a 12 MB disk."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", str(directory)],
        capture_output=True,
        encoding="utf-8",
    )
    if mounted.returncode:
        pytest.skip(f"mounting needs root: {mounted.stderr.strip()}")
    (directory / "log").mkdir(mode=0o700)
    yield directory / "log"
    subprocess.run(["umount", str(directory)], check=True)


def write_open_segment_of_format_2(log: Path, size: int) -> None:
    """Write a segment of `size` bytes without a footer, as if an old version had crashed."""
    keys = keyring_of(log)
    key = keys.make(injuries.ALICE)
    keys.write()

    def segment(padding: int) -> bytes:
        opened = e.SessionOpened(at=1.0, session="s1", assistant="chatgpt", ttl_s=300.0)
        command = e.CommandGiven(at=2.0, delivery="m1", command="x" * padding)
        entries = []
        for previous, event in enumerate((opened, command)):
            *entry, carried, sealed = codec.encode(key, previous, "s1", event)
            entries.append((*entry, msgpack.packb(packing.unpack(carried)[1:]), sealed))
        payload = codec.join(2, [codec.pack(entries)])
        header = framing.Header(1, 0.0, 7, framing.UNBOUND_VERSION)
        return framing.pack_header(header) + framing.pack_frame(7, 1, 2, payload)

    padding = size - len(segment(300)) + 300
    data = segment(padding)
    assert len(data) == size
    (log / segments.segment_name(1)).write_bytes(data)


def fill(log: Path) -> None:
    with (log.parent / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(os.urandom(BLOCK_BYTES))
        except OSError:
            return


@pytest.mark.parametrize("free_in_block", [0, 1, 6, 23, 24, 25, 2_000])
@pytest.mark.parametrize("reserved", [True, False])
def test_an_open_segment_of_an_old_format_is_sealed_or_left_unchanged(
    small, free_in_block, reserved
):
    write_open_segment_of_format_2(small, BLOCK_BYTES - free_in_block)
    if reserved:
        assert Reserve(small, DISK).keep()
    fill(small)
    footer_fits = free_in_block >= framing.HEAD_BYTES or reserved
    if footer_fits:
        ready = recovery.make_ready(small)
        assert (ready.segment, ready.next_seq) == (None, 3)
    else:
        with pytest.raises(OSError, match="No space"):
            recovery.make_ready(small)
    (small.parent / "filler").unlink()
    assert loading.load(small, keyring_of(small), {}).loaded.last_seq == 2
    assert recovery.make_ready(small).next_seq == 3
    assert [record.seq for record in injuries.read(small)] == [1, 2]
