"""Encoding events as arrays, and decoding them."""

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
    Rating,
    ReplyKind,
    Standing,
    Style,
)
from wxgptd.eventlog import codec, packing
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.upcast import upcast
from wxgptd.ports.record import RecordedUnreadable

VALUES = {
    "name": "张三",
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
    "extends": False,
    "cookie": b"digest of a cookie",
    "rating": Rating.DOWN,
    "words": "天没有那么蓝",
    "questions": ("q0", "q1"),
    "title": "天空的颜色",
    "opened_at": 1_700_000_000.5,
    "issued_at": 1_700_000_000.125,
}
ENCODING = "utf-8", "surrogatepass"
REASONS = {"SessionClosed": CloseReason.CLEARED, "AnswerFailed": FailureReason.BUSY}
ALL = typing.get_args(e.Event)


def example(kind: type[e.Event]) -> e.Event:
    values = {field.name: VALUES.get(field.name) for field in dataclasses.fields(kind)}
    if "reason" in values:
        values["reason"] = REASONS.get(kind.__name__, "not_understood")
    return kind(**values)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_event_round_trips(kind):
    event = example(kind)
    keys = Keyring(Path("/nowhere"), MASTER)
    key = keys.make(ALICE)
    packed = codec.join(1, [codec.pack([codec.encode(key, 4, "s1", event)])])
    (entry,) = packing.unpack(memoryview(packed))
    record = codec.decode(9, entry, keys)
    assert record == (9, ALICE, "s1", 4, event, "")
    assert type(record.event) is kind


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_personal_fields_are_encrypted_and_blank_without_a_key(kind):
    event = example(kind)
    keys = Keyring(Path("/nowhere"), MASTER)
    key = keys.make(ALICE)
    entry = codec.encode(key, 4, "s1", event)
    packed = codec.pack([entry])
    personal = codec.PERSONAL[kind.__name__]
    for value in (ALICE.openid, *(getattr(event, name) for name in personal)):
        assert (value if isinstance(value, bytes) else value.encode(*ENCODING)) not in packed
    for withheld, keyring in (("sealed", None), ("erased", Keyring(Path("/nowhere"), MASTER))):
        record = codec.decode(9, entry, keyring)
        assert record.hidden == withheld
        assert record.user == ("main", key.reference)
        blank = {name: type(getattr(event, name))() for name in personal}
        blank = dataclasses.replace(event, **blank)
        assert record.event == blank


@pytest.mark.parametrize("part", ["reference", "previous", "tag", "version"])
def test_ciphertext_does_not_decrypt_with_changed_metadata(part):
    keys = Keyring(Path("/nowhere"), MASTER)
    key = keys.make(ALICE)
    tag, version, at, reference, previous, carried, sealed = codec.encode(
        key, 4, "s1", example(e.AnswerFailed)
    )
    changed = {
        # These bodies are invalid in other ways, but have the same two personal fields.
        "reference": (tag, version, at, f"{reference}0", previous, carried, sealed),
        "previous": (tag, version, at, reference, previous + 1, carried, sealed),
        "tag": (codec.TAGS[e.QuestionAsked], version, at, reference, previous, carried, sealed),
        "version": (tag, version - 1, at, reference, previous, carried, sealed),
    }
    assert codec.event((tag, version, at, reference, previous, carried, sealed), key)
    with pytest.raises(ValueError, match="does not decrypt"):
        codec.event(changed[part], key)


def test_empty_personal_fields_are_not_encrypted():
    keys = Keyring(Path("/nowhere"), MASTER)
    event = dataclasses.replace(example(e.ReplyOffered), text="", about="")
    *_, sealed = codec.encode(keys.make(ALICE), 0, "s1", event)
    assert sealed == b""


def test_every_event_has_a_unique_tag():
    assert len(codec.KINDS) == len(ALL) == len(set(codec.KINDS))
    tags = set(codec.TAGS.values())
    assert len(tags) == len(ALL)


@pytest.mark.parametrize(("tag", "version"), [(999, 1), (1, 2)])
def test_an_event_from_a_newer_version_is_shown_but_not_folded(tag, version):
    record = codec.decode(3, (tag, version, 1.0, "main:0123", 0, msgpack.packb(["s1"]), b""), None)
    assert isinstance(record, RecordedUnreadable)
    with pytest.raises(codec.UnreadableEvent, match=f"kind {tag}, version {version}") as raised:
        codec.require(record)
    assert "install" in raised.value.hint


def test_older_bodies_are_upcast_one_version_at_a_time():
    steps = {(7, 1): lambda body: (*body, "two"), (7, 2): lambda body: (*body, "three")}
    assert upcast(7, 1, 3, ("one",), steps) == ("one", "two", "three")
    assert upcast(7, 2, 3, ("one",), steps) == ("one", "three")
