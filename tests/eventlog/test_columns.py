"""Sorted arrays of integers behave like the sets and dicts that they replace."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from wxgptd.eventlog.columns import SortedMap, difference, position

KEYS = st.integers(0, 40) | st.integers(0, 2**64 - 1)
SETS = st.sets(KEYS, max_size=200)


@given(st.lists(st.tuples(KEYS, st.integers(1, 9)), max_size=100), st.lists(KEYS, max_size=5))
def test_a_sorted_map_finds_all_values_of_a_key(entries, others):
    found = SortedMap([key for key, _ in entries], [value for _, value in entries])
    for key in [*others, *(key for key, _ in entries)]:
        assert sorted(found.find(key)) == sorted(v for k, v in entries if k == key)
    assert sorted(found) == sorted(entries)


@given(st.lists(st.tuples(KEYS, st.integers(1, 9)), min_size=1, max_size=50), st.data())
def test_a_deleted_entry_is_not_found(entries, data):
    found = SortedMap([key for key, _ in entries], [value for _, value in entries])
    deleted = data.draw(st.sampled_from(entries))
    found.delete(*deleted)
    assert sorted(found) == sorted(entry for entry in entries if entry != deleted)


@given(SETS, SETS)
def test_the_difference_is_that_of_sets(first, second):
    a, b = array("Q", sorted(first)), array("Q", sorted(second))
    assert difference(a, b) == first - second
    assert difference(a, array("Q", sorted(first | second))) == set()


@given(SETS, KEYS)
def test_the_position_is_that_of_the_key(keys, key):
    ordered = array("Q", sorted(keys))
    at = position(ordered, key)
    assert (ordered[at] == key) if at >= 0 else (key not in keys)
