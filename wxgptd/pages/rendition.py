"""Snapshots of an answer, and the updates that bring readers up to date. Pure.

A reader's position consists of the answer's generation (an answer may start over), the number of
settled blocks the reader has and their digest, the lengths of the thoughts and of the answer so
far, and the answer's progress. It is the `id` of an event, so a browser that reconnects, even after
the daemon was restarted, reports what need not be sent again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from zlib import crc32

from wxgptd.pages.document import Blocks
from wxgptd.ports.pages import AnswerView

Update = dict[str, object]

MAX_MADE_BYTES = 8 * 1024 * 1024
"""Limits the cache of one rendition: a page, and updates for different positions."""


@dataclass(frozen=True, slots=True)
class StatusText:
    """The sentences about an answer: its status, and what its reader can do next."""

    status: str
    hint: str = ""


class RenditionCache:
    """Bytes built from a rendition for one reader, cached for all others at the same position."""

    def __init__(self) -> None:
        self._kept: dict[object, bytes] = {}
        self._bytes = 0

    def once(self, name: object, make: Callable[[], bytes]) -> bytes:
        """Return the bytes stored under `name`, calling `make` the first time."""
        made = self._kept.get(name)
        return made if made is not None else self.keep(name, make())

    def find(self, name: object) -> bytes | None:
        """Return the bytes stored under `name`, or None."""
        return self._kept.get(name)

    def keep(self, name: object, made: bytes) -> bytes:
        """Store and return `made`, dropping everything else if the limit would be exceeded."""
        if self._bytes + len(made) > MAX_MADE_BYTES:
            self._kept.clear()
            self._bytes = 0
        self._kept[name] = made
        self._bytes += len(made)
        return made


@dataclass(frozen=True, slots=True, eq=False)
class Rendition:
    """An answer as it is shown. `digests[n]` is the digest of the first `n` blocks."""

    view: AnswerView
    said: StatusText
    blocks: Blocks
    digests: tuple[int, ...]
    made: RenditionCache = field(default_factory=RenditionCache)

    @property
    def position(self) -> str:
        """The position of a reader who has seen this."""
        view = self.view
        settled = len(self.blocks) if view.progress.final else max(0, len(self.blocks) - 1)
        digest = self.digests[settled]
        seen = f"{len(view.thoughts)}.{len(view.text)}.{view.progress}"
        return f"{view.generation}.{settled}.{digest:08x}.{seen}"

    def is_before(self, position: str) -> bool:
        """Return whether a reader at `position` has seen more than this."""
        generation, *_, written, _progress = (*("",) * 2, *position.split("."))[-6:]
        here = self.view.generation, len(self.view.text)
        return (number(generation), number(written)) > here

    def since(self, position: str) -> Update:
        """Return the update for a reader at `position`, or everything if that position is unknown.

        If later text has changed a block (by defining its link further down), the reader's digest
        no longer matches, and all blocks are sent again.
        """
        return self._update(*self._missing(position))

    def after(self, former: Rendition) -> Update:
        """Return the update for a reader who was sent everything up to `former`."""
        return self._update(*self._missing(former))

    def json(self, where: Rendition | str) -> bytes:
        """Return the update for a reader at `where` as JSON, built once for all such readers."""
        missing = self._missing(where)

        def make() -> bytes:
            update = self._update(*missing)
            text = json.dumps(update, ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "replace")

        return self.made.once(("json", missing), make)

    def event(self, where: Rendition | str) -> bytes:
        """Return the same update as a server-sent event."""
        head = f"id: {self.position}\nevent: update\ndata: ".encode()
        name = "event", self._missing(where)
        return self.made.once(name, lambda: b"".join((head, self.json(where), b"\n\n")))

    def _missing(self, where: Rendition | str) -> tuple[int, int, int]:
        """Return what a reader has: blocks, characters of the next block, and of the thoughts."""
        if isinstance(where, str):
            generation, settled, digest, thoughts, *_ = (*where.split("."), *("",) * 4)
            if generation != str(self.view.generation):
                return 0, 0, 0
            begin = number(settled)
            if begin > len(self.blocks) or f"{self.digests[begin]:08x}" != digest:
                begin = 0
            return begin, 0, min(number(thoughts), len(self.view.thoughts))
        if where.view.generation != self.view.generation:
            return 0, 0, 0
        begin = _common(where.blocks, self.blocks)
        kept = 0
        if begin < min(len(where.blocks), len(self.blocks)):
            kept = _common(where.blocks[begin], self.blocks[begin])
        return begin, kept, _common(where.view.thoughts, self.view.thoughts)

    def _update(self, begin: int, kept: int, thought: int) -> Update:
        blocks = list(self.blocks[begin:])
        units = 0
        if kept:
            units = _utf16_units(blocks[0][:kept])
            blocks[0] = blocks[0][kept:]
        return {
            "position": self.position,
            "from": begin,
            "keep": units,
            "blocks": blocks,
            "thoughts": {
                "from": _utf16_units(self.view.thoughts[:thought]),
                "text": self.view.thoughts[thought:],
            },
            "progress": self.view.progress.value,
            "status": self.said.status,
            "hint": self.said.hint,
            "final": self.view.progress.final,
        }


def rendition(
    view: AnswerView, said: StatusText, blocks: Blocks, former: Rendition | None = None
) -> Rendition:
    """Return the rendition of `view` with `blocks`; `former` saves hashing all of them again."""
    begin = _common(former.blocks, blocks) if former is not None else 0
    digests = list(former.digests[: begin + 1]) if former is not None else [0]
    for block in blocks[begin:]:
        digests.append(crc32(f"{block}\0".encode("utf-8", "replace"), digests[-1]))
    return Rendition(view=view, said=said, blocks=blocks, digests=tuple(digests))


def number(text: str) -> int:
    """Return `text` as a number, or 0 if it is not one: anyone with the link can send anything."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0


def _common(former: Blocks | str, now: Blocks | str) -> int:
    """Return the length of the common prefix of two sequences."""
    low, high = 0, min(len(former), len(now))
    if former[:high] == now[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if former[low:middle] == now[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _utf16_units(text: str) -> int:
    """Return the length of `text` as JavaScript counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
