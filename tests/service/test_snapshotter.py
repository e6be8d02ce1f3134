"""Snapshots: when they are taken, how startup uses them, and the history they retain."""

from __future__ import annotations

import errno
import re

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgptd import config as cfg
from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import CloseReason, User
from wxgptd.eventlog import codec
from wxgptd.eventlog.reader import LogDamaged

DAY_S = 86_400.0
ALICE = User("main", "alice")


def story_with(**log) -> Story:
    story = Story(answer_at(1, "因为。"), configuration(log=cfg.Log(**log)))
    story.open()
    return story


def ask(story: Story, text: str = "为什么？") -> None:
    story.send(text)
    story.advance(2)


def test_a_snapshot_is_taken_after_enough_events():
    story = story_with(snapshot_every=10)
    assert story.store.snapshots == 0
    while len(story.store._entries) < 10:
        ask(story)
    story.advance(1)
    assert story.store.snapshots == 1
    control = story.service.admin.children[b"status"]._control
    assert control.status().log_snapshot_seq == story.store._snapshot.last_seq


def test_startup_continues_from_a_snapshot():
    story = story_with(snapshot_every=5)
    ask(story)
    ask(story, "再说一次？")
    story.advance(2)
    link = re.search(r"/h/\S+", story.say("/history")).group()
    assert story.store.snapshots
    state = story.service.state.journal.state(ALICE)
    timeouts = story.service.state.timeouts.left("main", 0.0)
    story.restart()
    assert story.service.state.journal.state(ALICE) == state
    assert story.service.state.timeouts.left("main", 0.0) == timeouts
    assert "再说一次" in story.get(link).body
    ask(story, "还在吗？")
    assert story.model.messages()[-1] == ("user", "还在吗？")
    assert len(story.model.messages()) == 5, "the context came from the snapshot"


def deleted(story: Story) -> None:
    """Delete the user's session."""
    story.say("/stop")
    story.advance(30)
    state = story.service.state.journal.state(ALICE)
    now = story.service.state.snapshotter._event_clock.now()
    command = c.DeleteSession(at=now, session=state.past.last().id)
    assert story.service.state.journal.record(ALICE, command).events


def test_what_was_said_in_a_deleted_session_is_removed_within_a_day():
    story = story_with(snapshot_every=1_000_000)
    ask(story)
    deleted(story)
    pending = story.service.state.snapshotter._deletions
    story.advance(11.5 * 3_600, step=60)
    assert story.store.snapshots == 0
    assert len(pending.pending) == 1
    story.advance(3_600, step=60)
    assert story.store.snapshots == 1
    assert not pending.pending
    story.advance(30 * 3_600, step=60)
    assert story.store.snapshots == 1, "there is nothing left to remove"


def test_any_earlier_snapshot_removes_it_too():
    story = story_with(snapshot_every=1_000_000)
    ask(story)
    deleted(story)
    story.service.state.snapshotter.vacuum()
    story.advance(1)
    assert not story.service.state.snapshotter._deletions.pending


def test_a_removal_that_failed_or_was_interrupted_is_still_to_be_done():
    story = story_with(snapshot_every=1_000_000)
    ask(story)
    deleted(story)
    story.store.refuses_snapshots = OSError(errno.EIO, "Input/output error")
    failed = []
    story.service.state.snapshotter.vacuum().addErrback(failed.append)
    story.advance(1)
    assert failed
    assert len(story.service.state.snapshotter._deletions.pending) == 1
    story.restart()
    (pending,) = story.service.state.snapshotter._deletions.pending
    located = story.service.state.snapshotter._deletions.located([pending])
    assert [user for user, _, _ in located] == [ALICE]
    story.store.refuses_snapshots = None
    story.advance(13 * 3_600, step=60)
    assert not story.service.state.snapshotter._deletions.pending
    story.restart()
    assert not story.service.state.snapshotter._deletions.pending


def test_a_start_deletes_the_earlier_snapshot_if_a_crash_prevented_that():
    story = story_with(snapshot_every=1_000_000)
    ask(story)
    deleted(story)
    story.service.state.snapshotter.vacuum()
    story.advance(1)
    story.restart()
    story.advance(1)
    assert story.store.dropped == 1
    story.service.state.snapshotter.vacuum()
    story.advance(1)
    story.restart()
    story.advance(1)
    assert story.store.dropped == 1, "the newest snapshot removes nothing"


def test_what_is_deleted_while_a_snapshot_is_prepared_is_left_for_the_next():
    story = story_with(snapshot_every=1_000_000)
    ask(story)
    deleted(story)
    deletions = story.service.state.snapshotter._deletions
    first = deletions.pending
    deletions.begin(first)
    story.open()
    ask(story)
    deleted(story)
    deletions.done()
    assert len(deletions.pending) == 1
    assert deletions.pending != first


def test_nothing_is_left_to_remove_of_a_user_who_was_erased():
    story = story_with(snapshot_every=1_000_000)
    ask(story)
    deleted(story)
    story.service.state.erasing.erase(ALICE, CloseReason.CLEARED)
    story.advance(1)
    deletions = story.service.state.snapshotter._deletions
    assert deletions.located(deletions.pending) == []
    story.service.state.snapshotter.vacuum()
    story.advance(1)
    assert not deletions.pending


def test_a_snapshot_is_never_ahead_of_the_log():
    story = story_with(snapshot_every=5)
    story.store.stalled = True
    for _ in range(4):
        story.send("/help")
    story.advance(3)
    assert story.store.snapshots == 0, "nothing is durable yet"
    story.store.commit()
    story.flush()
    assert story.store.snapshots == 1


def test_a_failed_snapshot_is_retried_and_affects_nothing_else():
    story = story_with(snapshot_every=5)
    story.store.refuses_snapshots = OSError(errno.ENOSPC, "No space left on device")
    ask(story)
    story.advance(3)
    assert story.store.snapshots_refused == 1
    assert story.say("/help")
    story.store.refuses_snapshots = None
    story.advance(70, step=1)
    assert story.store.snapshots == 1


def test_sessions_past_retention_are_deleted_with_their_events():
    story = story_with(snapshot_every=8, keep=7 * DAY_S)
    ask(story, "很久以前的问题")
    story.say("/stop")
    story.advance(8 * DAY_S, step=3_600)
    story.open()
    for _ in range(4):
        ask(story, "新的问题")
    story.advance(2)
    page = story.get(re.search(r"/h/\S+", story.say("/history")).group()).body
    assert "新的问题" in page
    assert "很久以前的问题" not in page
    assert "之前的对话已按期删除" in page
    story.restart()
    page_after_restart = story.get(re.search(r"/h/\S+", story.say("/history")).group()).body
    assert "很久以前的问题" not in page_after_restart
    assert "之前的对话已按期删除" in page_after_restart


def test_no_snapshot_is_taken_on_a_full_disk():
    story = story_with(snapshot_every=5)
    story.store.is_full = True
    for _ in range(6):
        story.send("/help")
    story.advance(3)
    assert story.store.snapshots == 0
    story.store.is_full = False
    story.advance(2)
    assert story.store.snapshots == 1


def test_an_erasure_writes_no_snapshot():
    story = story_with(snapshot_every=8)
    while not story.store.snapshots:
        ask(story)
    before = story.store._snapshot
    story.deliver({"MsgType": "event", "Event": "unsubscribe", "EventKey": ""})
    story.advance(70, step=1)
    assert story.store._snapshot is before
    story.restart()
    assert story.service.state.journal.state(ALICE).version == 0
    story.advance(70, step=1)
    assert story.store._snapshot is before


def test_inconsistent_events_stop_the_daemon_when_their_user_is_hydrated():
    story = story_with()
    story.say("/stop")
    at = story.service.base.event_clock.now()
    story.advance(10_000, step=1_000)
    story.open("bob")
    state, key = story.service.state.journal.state(ALICE), story.store.keys.of(ALICE)
    wrong = e.AttemptRepeated(at=at, delivery="never came", number=2)
    story.store._entries.append(codec.encode(key, state.version, "", wrong))
    story.store.commit()
    story.restart()
    assert story.damages == []
    sent = story.send("/help")
    story.advance(1)
    assert "never came" in str(story.damages[0])
    assert not sent.done


def test_retention_triggers_a_daily_snapshot_even_with_few_events():
    story = story_with(keep=7 * DAY_S)
    before = story.store.snapshots
    for _ in range(3):
        story.say("/help")
        story.advance(DAY_S + 60, step=600)
    assert story.store.snapshots == before + 3


def test_a_user_that_cannot_be_hydrated_is_reported_and_not_retried_every_second():
    story = story_with(snapshot_every=4)
    story.store.refuses_snapshots = LogDamaged("what user main:1 said cannot be read")
    ask(story)
    story.advance(8)
    assert story.store.snapshots_refused == 1
    assert "cannot be read" in str(story.damages[0])
