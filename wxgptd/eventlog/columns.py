"""Tables of a million rows in a few bytes each: arrays of integers, sorted for lookup.

A dict of Python integers takes more than a hundred bytes per entry.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

U64 = "Q"
U32 = "I"
F64 = "d"


def position(keys: array[int], key: int) -> int:
    """Return where the first `key` is in the sorted `keys`, or -1."""
    at = bisect_left(keys, key)
    return at if at < len(keys) and keys[at] == key else -1


class SortedMap:
    """Values by key, both unsigned 64-bit integers; a key may have several. 16 bytes per entry.

    A value of 0 stands for a deleted entry.
    """

    def __init__(self, keys: Sequence[int] = (), values: Sequence[int] = ()) -> None:
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self.keys = array(U64, map(keys.__getitem__, order))
        self._values = array(U64, map(values.__getitem__, order))

    def find(self, key: int) -> Iterator[int]:
        """Yield the values of `key`."""
        at = bisect_left(self.keys, key)
        while at < len(self.keys) and self.keys[at] == key:
            if value := self._values[at]:
                yield value
            at += 1

    def delete(self, key: int, value: int) -> None:
        """Delete an entry if there is one."""
        at = bisect_left(self.keys, key)
        while at < len(self.keys) and self.keys[at] == key:
            if self._values[at] == value:
                self._values[at] = 0
            at += 1

    def has_duplicate_keys(self) -> bool:
        """Return whether any key has several entries."""
        return any(map(int.__eq__, self.keys, self.keys[1:]))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the entries, sorted by key."""
        for key, value in zip(self.keys, self._values, strict=True):
            if value:
                yield key, value


def difference(first: array[int], second: array[int]) -> set[int]:
    """Return the integers that are only in the first of two sorted arrays.

    Equal parts are compared as bytes, so this is fast if the arrays hardly differ.
    """
    if not first or first == second:
        return set()
    if len(first) + len(second) < 64:
        return set(first) - set(second)
    middle = (first if len(first) > len(second) else second)[max(len(first), len(second)) // 2]
    a, b = bisect_left(first, middle), bisect_left(second, middle)
    if (a, b) == (0, 0):
        return set(first) - set(second)
    return difference(first[:a], second[:b]) | difference(first[a:], second[b:])
