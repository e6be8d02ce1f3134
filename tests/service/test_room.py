"""Room for pictures: in order, and never more than there is."""

from __future__ import annotations

import pytest

from wxgptd.service.answers.room import Room


class Asked:
    def __init__(self, most: int = 10) -> None:
        self.full = 0
        self.room = Room(most, self._full)

    def _full(self) -> None:
        self.full += 1

    def enter(self, size: int):
        places: list = []
        entering = self.room.enter(size)
        entering.addCallbacks(places.append, lambda _: places.append("left"))
        return entering, places


@pytest.fixture
def asked():
    return Asked()


def test_a_picture_that_fits_enters_at_once(asked):
    _, first = asked.enter(6)
    _, second = asked.enter(4)
    assert first
    assert second
    assert asked.full == 0


def test_a_picture_that_does_not_fit_waits_and_is_not_overtaken(asked):
    _, first = asked.enter(6)
    _, large = asked.enter(8)
    _, small = asked.enter(1)
    assert large == small == []
    assert asked.full == 2
    first[0].leave()
    assert large
    assert small


def test_unneeded_room_is_given_back(asked):
    _, first = asked.enter(10)
    _, second = asked.enter(5)
    first[0].shrink(2)
    assert second
    assert asked.room.taken == 7
    first[0].shrink(9)
    assert asked.room.taken == 7, "a place does not grow"


def test_a_cancelled_wait_does_not_block_the_queue(asked):
    _, first = asked.enter(6)
    leaving, large = asked.enter(8)
    _, small = asked.enter(3)
    leaving.cancel()
    assert large == ["left"]
    assert small
    assert first


def test_a_picture_larger_than_the_room_gets_all_of_it(asked):
    _, first = asked.enter(1)
    _, huge = asked.enter(1_000)
    assert huge == []
    first[0].leave()
    assert huge
    huge[0].leave()
    assert asked.room.taken == 0


def test_leaving_twice_gives_back_once(asked):
    _, first = asked.enter(6)
    first[0].leave()
    first[0].leave()
    assert asked.room.taken == 0
