"""Read lines from a terminal while the reactor runs, without a thread that ^C cannot interrupt.

The terminal is read only when it is readable, and stays in blocking mode. Twisted's own StandardIO
would make it non-blocking, and with it standard output, which is the same terminal.
"""

from __future__ import annotations

import os
import sys
from collections import deque

import click
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from wxgptd.untyped import Reactor


@implementer(IReadDescriptor)
class Prompt:
    """Prompts for lines, one at a time, and keeps lines that were typed ahead."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._rest = b""
        self._lines: deque[str] = deque()
        self._ended = False
        self._pending: Deferred[str | None] | None = None
        reactor.addReader(self)

    async def ask(self, prompt: str) -> str | None:
        """Return the next line, or None at the end of input."""
        click.echo(prompt, nl=False, err=True)
        if self._lines:
            return self._lines.popleft()
        if self._ended:
            return None
        self._pending = Deferred()
        return await self._pending

    def _answer(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.callback(self._lines.popleft() if self._lines else None)

    # IReadDescriptor, for the reactor.

    def fileno(self) -> int:
        """Return the terminal's descriptor."""
        return sys.stdin.fileno()

    def doRead(self) -> None:
        """Read the available input, usually one line."""
        received = os.read(self.fileno(), 65_536)
        if not received:
            self._ended = True
            self._reactor.removeReader(self)
        *lines, self._rest = (self._rest + received).split(b"\n")
        self._lines.extend(line.decode("utf-8", "replace") for line in lines)
        if lines or self._ended:
            self._answer()

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: the terminal is not ours to close."""

    def logPrefix(self) -> str:
        """Return the prefix for Twisted's log."""
        return "prompt"
