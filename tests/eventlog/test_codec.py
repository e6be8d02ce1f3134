"""Events to arrays and back."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import msgpack
import pytest

from tests.support.builders import ALICE, link
from tests.support.injuries import MASTER
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import (
    AnswerUsage,
    CloseReason,
    FailureReason,
    Finish,
    ReplyKind,
    Standing,
    Style,
)
from wxgptd.eventlog import codec
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.upcast import upcast
from wxgptd.ports.record import RecordedUnreadable

VALUES = {
    "at": 1_700_000_000.25,
    "session": "s1",
    "assistant": "chatgpt",
    "ttl_s": 300.0,
    "delivery": "6054768590064713728",
    "question": "q1",
    "command": "stop",
    "text": "天为什么是蓝的？\ud83d",
    "link": link("x"),
    "about": "poster-9",
    "scene": "poster-7",
    "number": 2,
    "finish": Finish.LENGTH,
    "model": "m-1",
    "first_text_s": 0.5,
    "took_s": 12.5,
    "detail": "HTTP 500",
    "retry_after_s": 3.0,
    "kind": ReplyKind.PARTIAL,
    "notice": "",
    "start": 3,
    "end": 9,
    "image": "http://mmbiz.qpic.cn/x",
    "style": Style.MARKDOWN,
    "rest": True,
    "reminder": "q0",
    "usage": AnswerUsage("chatgpt", 12, 34, estimated=True, prompt_bytes=640, cost=0.0125),
    "turns": 3,
    "code": 45015,
    "standing": Standing.BLOCKED,
    "until": 1_700_000_060.0,
    "segment": "00000000000000000001.wxlog",
    "offset": 77,
    "size": 12,
    "retries": "q0",
    "sealed": b"sealed words",
    "count": 37,
}
AS_IS = "utf-8", "surrogatepass"
REASONS = {"SessionClosed": CloseReason.CLEARED, "AnswerFailed": FailureReason.BUSY}
ALL = typing.get_args(e.Event)


def example(kind: type[e.Event]) -> e.Event:
    values = {field.name: VALUES.get(field.name) for field in dataclasses.fields(kind)}
    if "reason" in values:
        values["reason"] = REASONS.get(kind.__name__, "not_understood")
    return kind(**values)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_event_comes_back_as_it_was(kind):
    event = example(kind)
    keys = Keyring(Path("/nowhere"), MASTER)
    key = keys.make(ALICE)
    packed = codec.join(1, [codec.pack([codec.encode(key, 4, "s1", event)])])
    (entry,) = codec.unpack(memoryview(packed))
    record = codec.decode(9, entry, keys)
    assert record == (9, ALICE, "s1", 4, event, "")
    assert type(record.event) is kind


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_nothing_personal_is_in_the_clear_and_without_a_key_it_is_empty(kind):
    event = example(kind)
    keys = Keyring(Path("/nowhere"), MASTER)
    key = keys.make(ALICE)
    entry = codec.encode(key, 4, "s1", event)
    packed = codec.pack([entry])
    personal = codec.PERSONAL[kind.__name__]
    for said in (ALICE.openid, *(getattr(event, name) for name in personal)):
        assert (said if isinstance(said, bytes) else said.encode(*AS_IS)) not in packed
    for withheld, keyring in (("sealed", None), ("erased", Keyring(Path("/nowhere"), MASTER))):
        record = codec.decode(9, entry, keyring)
        assert record.hidden == withheld
        assert record.user == ("main", key.reference)
        blank = {name: type(getattr(event, name))() for name in personal}
        blank = dataclasses.replace(event, **blank)
        assert record.event == blank


@pytest.mark.parametrize("part", ["reference", "previous", "tag", "version"])
def test_what_is_encrypted_is_bound_to_its_place_by_each_part_of_it(part):
    keys = Keyring(Path("/nowhere"), MASTER)
    key = keys.make(ALICE)
    tag, version, at, reference, previous, carried, sealed = codec.encode(
        key, 4, "s1", example(e.AnswerFailed)
    )
    moved = {
        # Whatever else is wrong with them, these bodies have the same two personal fields.
        "reference": (tag, version, at, f"{reference}0", previous, carried, sealed),
        "previous": (tag, version, at, reference, previous + 1, carried, sealed),
        "tag": (codec.TAGS[e.QuestionAsked], version, at, reference, previous, carried, sealed),
        "version": (tag, version - 1, at, reference, previous, carried, sealed),
    }
    assert codec.event((tag, version, at, reference, previous, carried, sealed), key)
    with pytest.raises(ValueError, match="does not decrypt"):
        codec.event(moved[part], key)


def test_what_is_empty_needs_no_key():
    keys = Keyring(Path("/nowhere"), MASTER)
    event = dataclasses.replace(example(e.ReplyOffered), text="", about="")
    *_, sealed = codec.encode(keys.make(ALICE), 0, "s1", event)
    assert sealed == b""


def test_every_event_has_a_tag_and_no_two_share_one():
    assert len(codec.KINDS) == len(ALL) == len(set(codec.KINDS))
    tags = set(codec.TAGS.values())
    assert len(tags) == len(ALL)


@pytest.mark.parametrize(("tag", "version"), [(999, 1), (1, 2)])
def test_what_a_newer_version_wrote_is_shown_but_not_folded(tag, version):
    record = codec.decode(3, (tag, version, 1.0, "main:0123", 0, msgpack.packb(["s1"]), b""), None)
    assert isinstance(record, RecordedUnreadable)
    with pytest.raises(codec.UnreadableEvent, match=f"kind {tag}, version {version}") as raised:
        codec.require(record)
    assert "install" in raised.value.hint


def test_older_bodies_are_brought_up_one_step_at_a_time():
    steps = {(7, 1): lambda body: (*body, "two"), (7, 2): lambda body: (*body, "three")}
    assert upcast(7, 1, 3, ("one",), steps) == ("one", "two", "three")
    assert upcast(7, 2, 3, ("one",), steps) == ("one", "three")
