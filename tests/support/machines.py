"""Machines in one network, as network namespaces: a test can pull a machine's cable. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

CAN = os.geteuid() == 0 and shutil.which("ip") is not None
"""Whether this machine can have network namespaces."""


class Machines:
    """`count` machines at a switch, to which the test itself is connected, too."""

    def __init__(self, count: int) -> None:
        self._name = f"wx{os.getpid() % 1_000_000}"
        self._net = f"10.213.{os.getpid() % 250}"
        self._count = 0
        _ip("link", "add", self._name, "type", "bridge")
        _ip("addr", "add", f"{self.gateway}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")
        for number in range(count):
            self._add(number)

    def _add(self, number: int) -> None:
        space, port = self._space(number), self._port(number)
        _ip("netns", "add", space)
        self._count += 1
        _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", port, "master", self._name, "up")
        _ip("-n", space, "addr", "add", f"{self.host(number)}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", space, "link", "set", "lo", "up")

    def _space(self, number: int) -> str:
        return f"{self._name}n{number}"

    def _port(self, number: int) -> str:
        return f"{self._name}p{number}"

    @property
    def gateway(self) -> str:
        """The address of the machine that runs the test."""
        return f"{self._net}.254"

    def host(self, number: int) -> str:
        """Return the address of a machine."""
        return f"{self._net}.{number + 1}"

    def prefix(self, number: int) -> Sequence[str]:
        """Return what, before a command, runs it on that machine."""
        return ("ip", "netns", "exec", self._space(number))

    def cut(self, number: int) -> None:
        """Pull a machine's cable: what is sent from it or to it is gone, without a sign."""
        _ip("link", "set", self._port(number), "down")

    def heal(self, number: int) -> None:
        """Plug it in again."""
        _ip("link", "set", self._port(number), "up")

    def end(self) -> None:
        """Remove everything; what runs there must have ended."""
        for number in range(self._count):
            _ip("netns", "del", self._space(number))
        _ip("link", "del", self._name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
