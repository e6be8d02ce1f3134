"""How many bytes are on their way to readers: limited in total and for each link owner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wxgptd.pages.render_queue import TooBusy

MAX_BYTES = 64 * 1024 * 1024
MAX_BYTES_PER_OWNER = 8 * 1024 * 1024
"""A page is about 100 KB, and a reader who reads nothing holds it for a minute."""


class Unsent:
    """Counts the bytes that readers have requested but not yet received."""

    def __init__(self) -> None:
        self.bytes = 0
        self._of_owner: Counter[str] = Counter()

    @contextmanager
    def counted(self, owner: str, size: int) -> Iterator[None]:
        """Count `size` bytes from a link of `owner` as unsent while the `with` block runs.

        Raises:
            TooBusy: a limit would be exceeded.
        """
        if self.bytes + size > MAX_BYTES or self._of_owner[owner] + size > MAX_BYTES_PER_OWNER:
            raise TooBusy("too much unsent data is waiting for slow readers")
        self.bytes += size
        self._of_owner[owner] += size
        try:
            yield
        finally:
            self.bytes -= size
            self._of_owner[owner] -= size
            if not self._of_owner[owner]:
                del self._of_owner[owner]
