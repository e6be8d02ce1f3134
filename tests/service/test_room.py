"""Memory for pictures is granted in order and never exceeds its limit."""

from __future__ import annotations

import pytest

from wxgptd.service.answers.room import Room


class Door:
    def __init__(self, limit: int = 10) -> None:
        self.full = 0
        self.room = Room(limit, self._full)

    def _full(self) -> None:
        self.full += 1

    def enter(self, size: int):
        places: list = []
        entering = self.room.enter(size)
        entering.addCallbacks(places.append, lambda _: places.append("left"))
        return entering, places


@pytest.fixture
def door():
    return Door()


def test_a_picture_that_fits_enters_at_once(door):
    _, first = door.enter(6)
    _, second = door.enter(4)
    assert first
    assert second
    assert door.full == 0


def test_a_picture_that_does_not_fit_waits_and_is_not_overtaken(door):
    _, first = door.enter(6)
    _, large = door.enter(8)
    _, small = door.enter(1)
    assert large == small == []
    assert door.full == 2
    first[0].leave()
    assert large
    assert small


def test_unneeded_room_is_released(door):
    _, first = door.enter(10)
    _, second = door.enter(5)
    first[0].shrink(2)
    assert second
    assert door.room.taken == 7
    first[0].shrink(9)
    assert door.room.taken == 7, "a place does not grow"


def test_a_cancelled_wait_does_not_block_the_queue(door):
    _, first = door.enter(6)
    leaving, large = door.enter(8)
    _, small = door.enter(3)
    leaving.cancel()
    assert large == ["left"]
    assert small
    assert first


def test_a_picture_larger_than_the_room_gets_all_of_it(door):
    _, first = door.enter(1)
    _, huge = door.enter(1_000)
    assert huge == []
    first[0].leave()
    assert huge
    huge[0].leave()
    assert door.room.taken == 0


def test_leaving_twice_releases_the_room_once(door):
    _, first = door.enter(6)
    first[0].leave()
    first[0].leave()
    assert door.room.taken == 0
