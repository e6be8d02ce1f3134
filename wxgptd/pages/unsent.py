"""How much of the pages is on its way to readers: bounded in all, and for each owner of links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wxgptd.pages.workshop import TooBusy

MAX_BYTES = 64 * 1024 * 1024
MAX_BYTES_PER_OWNER = 8 * 1024 * 1024
"""A page has some 100 KB; readers who do not take theirs keep it for a minute."""


class Unsent:
    """Counts the bytes that readers have asked for and not taken yet."""

    def __init__(self) -> None:
        self.bytes = 0
        self._of_owner: Counter[str] = Counter()

    @contextmanager
    def counted(self, owner: str, size: int) -> Iterator[None]:
        """Count `size` bytes as on their way from a link of `owner` while the block lasts.

        Raises:
            TooBusy: there are too many already.
        """
        if self.bytes + size > MAX_BYTES or self._of_owner[owner] + size > MAX_BYTES_PER_OWNER:
            raise TooBusy("too much is on its way to readers who do not take it")
        self.bytes += size
        self._of_owner[owner] += size
        try:
            yield
        finally:
            self.bytes -= size
            self._of_owner[owner] -= size
            if not self._of_owner[owner]:
                del self._of_owner[owner]
