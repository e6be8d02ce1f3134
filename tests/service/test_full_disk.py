"""On a full disk, held questions are still answered and new ones are rejected."""

from __future__ import annotations

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgpt.wechat import messages

FULL = configuration().texts.storage_full


def test_held_questions_are_answered_and_new_ones_rejected():
    story = Story(answer_at(8, "四十二。"))
    story.open()
    held = story.send("生命的意义？")
    story.advance(1)
    recorded = len(story.store.events())
    story.store.is_full = True

    assert story.say("还有一个问题") == FULL
    assert story.say("/chatgpt", user="bob") == FULL
    assert len(story.store.events()) == recorded, "an event was recorded on a full disk"
    story.advance(9)
    assert held.reply == "四十二。"
    assert len(story.model.calls) == 1

    story.store.is_full = False
    story.send("还有一个问题")
    story.advance(9)
    assert len(story.model.calls) == 2


def turned_away() -> tuple[Story, dict[str, str]]:
    """Return a story whose disk has room again, and a message that arrived when it was full."""
    story = Story(answer_at(1, "好。"))
    story.open()
    story.store.is_full = True
    message = messages.text_message("一？")
    assert story.deliver(message).reply == FULL
    story.store.is_full = False
    return story, message


def test_a_message_that_was_turned_away_gets_the_same_reply_when_there_is_room():
    story, message = turned_away()
    story.advance(5)
    assert story.deliver(message).reply == FULL
    assert story.model.calls == []


def test_a_message_that_was_turned_away_is_forgotten_after_its_last_attempt():
    story, message = turned_away()
    story.advance(21)
    repeated = story.deliver(message)
    story.advance(2)
    assert repeated.reply == "好。"


def test_stopping_still_works_on_a_full_disk():
    story = Story(answer_at(1, "好。"))
    story.open()
    story.store.is_full = True
    assert story.say("hello", user="bob") is None  # ignored, as always
    assert story.say("/stop") not in {None, FULL}
    assert story.say("还在吗？") is None
