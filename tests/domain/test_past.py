"""Past sessions behave like a tuple, and cost little per event."""

from __future__ import annotations

import random

import pytest

from wxgptd.domain.model.past import BLOCK, Past
from wxgptd.domain.model.session import Question, Session


def session(number: int, questions: int = 2) -> Session:
    names = [f"{number}.{n}" for n in range(questions)]
    return Session(
        id=f"s{number}",
        assistant="a",
        opened_at=0.0,
        last_at=float(number),
        ttl_s=300.0,
        questions={
            name: Question(delivery=name, text="?", asked_at=0.0, link=b"") for name in names
        },
    )


@pytest.mark.parametrize("seed", range(30))
def test_it_behaves_like_a_tuple(seed):
    source = random.Random(seed)
    past, expected = Past(), ()
    versions = []
    for number in range(6 * BLOCK):
        match source.randrange(8):
            case 0 if expected:
                past, expected = past.without_last(), expected[:-1]
            case 1 if expected:
                name = next(iter(source.choice(expected).questions))
                changed = past.holder(name).questions[name]._replace(text=f"changed {number}")
                past = past.with_question(changed)
                expected = tuple(
                    one.with_question(changed) if name in one.questions else one for one in expected
                )
            case 2:
                past = Past(expected)
            case _:
                added = session(number, source.randrange(1, 3))
                past, expected = past.appended(added), (*expected, added)
        versions.append((past, expected))
    for past, expected in versions:  # no version was changed by a later one
        assert tuple(past) == expected
        assert past == Past(expected)
        assert len(past) == len(expected)
        assert bool(past) == bool(expected)
        assert tuple(reversed(past)) == expected[::-1]
        assert past[-1:] == expected[-1:]
        assert past.last() == (expected[-1] if expected else None)
        for at in range(-len(expected), len(expected)):
            assert past[at] == expected[at]
        for one in expected:
            for name in one.questions:
                assert past.holder(name) == one


def test_unknown_questions_and_indices():
    past = Past([session(1)])
    assert past.holder("none") is None
    assert past.with_holder("none", lambda one: one) is past
    assert past != (session(1),)
    with pytest.raises(IndexError):
        past[1]
    with pytest.raises(IndexError):
        past[-2]


def test_a_change_shares_all_other_blocks():
    past = Past(session(number) for number in range(10 * BLOCK))
    name = next(iter(past[3 * BLOCK].questions))
    changed = past.with_question(past.holder(name).questions[name]._replace(text="!"))
    same = [a is b for a, b in zip(past._blocks, changed._blocks, strict=True)]
    assert same.count(False) == 1
    later = past.appended(session(9_999))
    assert all(a is b for a, b in zip(past._blocks, later._blocks, strict=False))
