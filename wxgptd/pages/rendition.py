"""An answer as it is shown at one moment, and what brings a reader there. Pure.

A reader's position says how often the answer has begun anew, how many blocks the reader has that
will not change, a digest of them, how much there was of what the model thought and of the
answer, and how far the answer was. It is the `id` of an event, so a browser that reconnects, even
to a daemon that was restarted in between, says what it need not be sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from wxgptd.pages.document import Blocks
from wxgptd.ports import AnswerView

Update = dict[str, object]


@dataclass(frozen=True, slots=True)
class Sentences:
    """What is said about an answer: how far it is, and what its reader can do next."""

    status: str
    hint: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Rendition:
    """What there is to see. `digests[n]` is that of the first `n` blocks."""

    view: AnswerView
    said: Sentences
    blocks: Blocks
    digests: tuple[int, ...]

    @property
    def position(self) -> str:
        """What a reader who has seen this need not be sent again."""
        view = self.view
        settled = len(self.blocks) if view.progress.final else max(0, len(self.blocks) - 1)
        digest = self.digests[settled]
        seen = f"{len(view.thoughts)}.{len(view.text)}.{view.progress}"
        return f"{view.generation}.{settled}.{digest:08x}.{seen}"

    def is_before(self, position: str) -> bool:
        """Tell whether a reader at `position` has seen more than this."""
        generation, *_, written, _progress = (*("",) * 2, *position.split("."))[-6:]
        here = self.view.generation, len(self.view.text)
        return (number(generation), number(written)) > here

    def since(self, position: str) -> Update:
        """Return what a reader lacks who was at `position`, as far as that can be known.

        A block that later text has changed (a link defined further down) is sent again with all
        that follow it: the reader's digest does not fit then.
        """
        generation, settled, digest, thoughts, *_ = (*position.split("."), *("",) * 4)
        if generation != str(self.view.generation):
            return self._update(0, 0, 0)
        begin = number(settled)
        if begin > len(self.blocks) or f"{self.digests[begin]:08x}" != digest:
            begin = 0
        return self._update(begin, 0, min(number(thoughts), len(self.view.thoughts)))

    def after(self, former: Rendition) -> Update:
        """Return what a reader lacks who was sent `former` and all that is before it."""
        if former.view.generation != self.view.generation:
            return self._update(0, 0, 0)
        begin = _common(former.blocks, self.blocks)
        kept = 0
        if begin < min(len(former.blocks), len(self.blocks)):
            kept = _common(former.blocks[begin], self.blocks[begin])
        return self._update(begin, kept, _common(former.view.thoughts, self.view.thoughts))

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
    view: AnswerView, said: Sentences, blocks: Blocks, former: Rendition | None = None
) -> Rendition:
    """Return how `view` is shown, whose text is `blocks`; `former` spares reading them all."""
    begin = _common(former.blocks, blocks) if former is not None else 0
    digests = list(former.digests[: begin + 1]) if former is not None else [0]
    for block in blocks[begin:]:
        digests.append(crc32(f"{block}\0".encode("utf-8", "replace"), digests[-1]))
    return Rendition(view=view, said=said, blocks=blocks, digests=tuple(digests))


def number(text: str) -> int:
    """Return the number that `text` is, or 0: it comes from whoever has the link."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0


def _common(former: Blocks | str, now: Blocks | str) -> int:
    """Return how many elements two sequences have in common at their beginning."""
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
