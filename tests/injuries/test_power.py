"""Power cuts on real file systems: synced data survives, and nothing else is guaranteed.

A file system on a loop device is shut down under the writer without flushing its journal, as in a
power cut (`EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` have the same number). kill -9 cannot show
any of this: the kernel would still write data that was never synced.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.surviving import TORTURE, Run, lost, running

CYCLES = 100 if TORTURE else 50
MUTANT_RUNS = 10 if TORTURE else 5
MUTANT_CUTS = 30

_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = struct.pack("I", 2)
_SIZE_BYTES = {"ext4": 64 << 20, "xfs": 320 << 20}
_MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
_MOUNT = {"ext4": ["mount"], "xfs": ["mount", "-o", "nouuid"]}

# Run in one process: the search for a free loop device opens those of other processes, and a
# device that was just released can then disappear while a file system is being mounted on it.
pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("loop devices")]


class Disk:
    """A file system on a loop device."""

    def __init__(self, kind: str, place: Path) -> None:
        self._kind, self._image, self.mount = kind, place / "image", place / "mount"
        self.mount.mkdir()
        with self._image.open("wb") as image:
            image.truncate(_SIZE_BYTES[kind])
        subprocess.run([*_MAKE[kind], str(self._image)], check=True, capture_output=True)
        self._mounted = False
        self.plug_in()

    def plug_in(self) -> None:
        """Mount the image on a new loop device.

        A container that starts in the meantime copies all mounts into its own namespace, where the
        file system that was shut down stays mounted. `mount -o loop` would find its device and
        mount that one again.
        """
        attach = ["losetup", "--find", "--show", str(self._image)]
        attached = subprocess.run(attach, check=True, capture_output=True, text=True)
        device = attached.stdout.strip()
        try:
            command = [*_MOUNT[self._kind], device, str(self.mount)]
            subprocess.run(command, check=True, capture_output=True)
        finally:  # takes effect once it is unmounted everywhere
            subprocess.run(["losetup", "--detach", device], check=True, capture_output=True)
        self._mounted = True

    def cut(self) -> None:
        """Cut the power: from here on nothing reaches the device."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_FLUSHING)
        finally:
            os.close(descriptor)

    def unplug(self) -> None:
        for _ in range(100):
            unmounted = subprocess.run(["umount", str(self.mount)], capture_output=True)
            if unmounted.returncode == 0:
                self._mounted = False
                return
            time.sleep(0.02)
        raise AssertionError(unmounted.stderr)

    def close(self) -> None:
        if self._mounted:
            self.unplug()


@pytest.fixture(params=["ext4", "xfs"])
def disk(request, tmp_path) -> Iterator[Disk]:
    kind = request.param
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    if shutil.which(_MAKE[kind][0]) is None:
        pytest.skip(f"{_MAKE[kind][0]} is not installed")
    try:
        disk = Disk(kind, tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no {kind} can be mounted here: {error.stderr.decode().strip()}")
    try:
        disk.kind = kind
        yield disk
    finally:
        with suppress(OSError):
            disk.close()


class Place:
    """A state directory on such a disk, and the events acknowledged in it."""

    def __init__(self, disk: Disk, name: str, seed: int, mutant: str = "") -> None:
        self._disk = disk
        self.state_dir = disk.mount / name
        self._chance = random.Random(seed)
        self._mutant = ("--mutant", mutant) if mutant else ()
        self.acknowledged = self._snapshot = 0
        self._erased: set[str] = set()

    def cut(self) -> str:
        """Run the workload and cut its power; describe any loss of acknowledged events.

        Half of the cuts happen while it writes and half while it is idle, when no later write can
        carry its last ones to the device.
        """
        if self._chance.random() < 0.3:
            # A killed process's unsynced writes stay in the page cache until the cut.
            with running(self.state_dir, *self._mutant) as killed:
                killed.wait_for("ack")
                time.sleep(self._chance.uniform(0.0, 0.02))
                killed.kill()
                self.acknowledged = max(self.acknowledged, killed.acknowledged)
                self._erased |= killed.erased
        rest = self._chance.random() < 0.5
        appends = ("--appends", str(self._chance.randrange(1, 60)), "--rest") if rest else ()
        run = Run(self.state_dir, *appends, *self._mutant)
        try:
            run.wait_for("snapshot" if rest else "ack")
            time.sleep(0.0 if rest else self._chance.uniform(0.0, 0.06))
            self.acknowledged = max(self.acknowledged, run.acknowledged)
            self._erased |= run.erased
            self._snapshot = max(self._snapshot, run.snapshot)
            self._disk.cut()
        finally:
            run.close()
        self._disk.unplug()
        self._disk.plug_in()
        return lost(self.state_dir, self.acknowledged, self._erased, self._snapshot)


def test_a_power_cut_loses_no_acknowledged_events(disk, report):
    place = Place(disk, "state", seed=42)
    for _ in range(CYCLES):
        assert not (loss := place.cut()), loss
    report(f"R2 {disk.kind}: {CYCLES} cuts, {place.acknowledged} events acknowledged, 0 lost")


@pytest.mark.parametrize("mutant", ["no-sync", "no-directory-sync", "early"])
def test_the_harness_catches_a_faulty_writer(disk, report, mutant):
    """Check the harness itself: it must detect that each of these writers omits a step."""
    caught = 0
    for number in range(MUTANT_RUNS):
        place = Place(disk, f"state-{number}", seed=number, mutant=mutant)
        caught += any(place.cut() for _ in range(MUTANT_CUTS))
        shutil.rmtree(place.state_dir, ignore_errors=True)
    report(f"R2 {disk.kind}, {mutant}: caught in {caught} of {MUTANT_RUNS} runs")
    assert caught >= MUTANT_RUNS * 0.9
