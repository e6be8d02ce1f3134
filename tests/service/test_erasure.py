"""Users are erased when they unsubscribe or when the operator requests it."""

from __future__ import annotations

import re

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from tests.support.words_in import words_in
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.domain.model.past import Past
from wxgptd.domain.model.reply_window import Open
from wxgptd.domain.model.state import EMPTY
from wxgptd.domain.model.values import User
from wxgptd.eventlog import loading
from wxgptd.service.state.recently_erased import RecentlyErased

ANSWER = "因为空气分子对短波长的光散射得更强。"
ALICE = User("main", "alice")


def path_in(reply: str) -> str:
    return re.search(r"/[ah]/[A-Za-z0-9_-]+", reply).group()


def kinds(story: Story) -> list[str]:
    return [type(event).__name__ for event in story.store.events()]


def open_story(**more) -> Story:
    story = Story(answer_at(20, ANSWER), **more)
    story.open()
    return story


def unsubscribe(story: Story, user: str = "alice") -> None:
    story.deliver(messages.event_message("unsubscribe"), user)


def erase(story: Story, user: str = "alice") -> list[bool]:
    results: list[bool] = []
    control = story.service.admin.children[b"users"]._control
    control.users.forget("main", user).addCallback(results.append)
    story.flush()
    return results


def test_unsubscribing_erases_everything_about_a_user():
    story = open_story()
    sent = story.send("为什么天是蓝的？")
    story.advance(30)
    page, history = path_in(sent.reply), path_in(story.say("/history"))
    assert story.get(page).code == story.get(history).code == 200
    unsubscribe(story)
    assert kinds(story)[-2:] == ["UserUnsubscribed", "UserErased"]
    assert story.service.state.journal.state(ALICE).version == 0
    assert story.get(page).code == story.get(history).code == 404
    assert all(record.hidden == "erased" for record in story.store.scan())
    story.restart()
    assert story.service.state.journal.state(ALICE).version == 0
    assert story.get(page).code == story.get(history).code == 404


def test_a_returning_user_is_a_new_user():
    story = open_story()
    unsubscribe(story)
    story.open()
    assert story.service.state.journal.state(ALICE).past == Past()
    references = {entry[3] for entry in story.store._entries}
    assert len(references) == 2
    before = story.service.state.journal.state(ALICE)
    story.restart()
    assert story.service.state.journal.state(ALICE) == before


def test_erasure_drops_the_running_answer_and_releases_its_attempt():
    story = open_story()
    sent = story.send("为什么？")
    story.advance(3)
    unsubscribe(story)
    story.advance(30)
    assert sent.reply is None, "it was acknowledged without text, so that WeChat does not retry"
    assert not story.service.answers.answer_runner._flights
    assert kinds(story)[-1] == "UserErased"


def test_a_retried_unsubscription_is_acknowledged_and_records_nothing():
    story = open_story()
    fields = messages.event_message("unsubscribe")
    assert story.deliver(fields).reply is None
    count = len(kinds(story))
    assert story.deliver(fields).reply is None
    assert len(kinds(story)) == count


def test_resubscribing_does_not_lift_a_block():
    story = open_story()
    control = story.service.admin.children[b"users"]._control
    control.users.change_standing("main", "alice", "blocked", 3_600.0)
    unsubscribe(story)
    story.restart()
    assert "无法使用" in story.say("/chatgpt")
    story.advance(3_600, step=60)
    assert "我是 AI 助手" in story.say("/chatgpt")


def test_erasure_by_the_operator_also_lifts_a_block():
    story = open_story()
    control = story.service.admin.children[b"users"]._control
    control.users.change_standing("main", "alice", "blocked", 0.0)
    assert erase(story) == [True]
    assert "我是 AI 助手" in story.say("/chatgpt")


def test_an_unknown_user_cannot_be_erased():
    story = open_story()
    assert erase(story, "mallory") == [False]
    assert kinds(story)[-1] != "UserErased"


def test_erasure_keeps_today_s_costs():
    price = cfg.Price(input=1e6, output=1e6)
    assistant = cfg.Assistant(base_url="http://model.test/v1", model="m", price_per_million=price)
    story = Story(answer_at(1, ANSWER), configuration(assistant={"chatgpt": assistant}))
    story.open()
    story.send("为什么？")
    story.advance(3)
    control = story.service.admin.children[b"users"]._control
    spent = control.status().cost_today
    assert spent["chatgpt"] > 0
    unsubscribe(story)
    story.restart()
    control = story.service.admin.children[b"users"]._control
    assert control.status().cost_today == spent


def test_a_snapshot_reveals_nothing_of_an_erased_user():
    story = open_story(config=configuration(log=cfg.Log(snapshot_every=1)))
    story.send("你好")
    story.advance(2)
    assert story.store.snapshots
    key = story.store.keys.of(ALICE)
    version = story.service.state.journal.state(ALICE).version
    assert key.reference in {user.reference for user in story.store._snapshot.users}
    assert erase(story) == [True]
    assert loading.states(story.store._snapshot, story.store.keys)[key.reference] == EMPTY._replace(
        version=version
    ), "unreadable at once"
    story.advance(12, step=1)
    assert key.reference not in {user.reference for user in story.store._snapshot.users}
    assert "alice" not in repr(story.store._snapshot)


def test_the_user_list_contains_only_current_users():
    story = open_story()
    story.open("bob")
    control = story.service.admin.children[b"users"]._control
    unsubscribe(story)
    assert [entry.user for entry in control.users.newest(10, "")] == ["bob"]
    story.advance(1_000, step=10)
    story.open("carol")
    story.restart()
    control = story.service.admin.children[b"users"]._control
    assert {entry.user for entry in control.users.newest(10, "")} == {"bob", "carol"}
    assert control.users.newest(10, "blocked") == []


def test_an_old_history_link_does_not_show_a_later_history():
    story = open_story()
    link = path_in(story.say("/history"))
    unsubscribe(story)
    story.open()
    story.restart()
    assert story.get(link).code == 404
    new_link = path_in(story.say("/history"))
    assert story.get(new_link).code == 200
    assert story.get(link).code == 404


def test_links_survive_in_a_snapshot_until_their_user_is_erased():
    story = open_story(config=configuration(log=cfg.Log(snapshot_every=1)))
    sent = story.send("为什么？")
    story.advance(30)
    page, history = path_in(sent.reply), path_in(story.say("/history"))
    story.advance(3)
    assert story.store._snapshot.last_seq == len(story.store._entries)
    story.restart()
    assert story.get(page).code == story.get(history).code == 200
    unsubscribe(story)
    story.restart()
    assert story.get(page).code == story.get(history).code == 404


def test_a_user_erased_during_a_snapshot_stays_erased_after_a_restart():
    story = open_story()
    story.open("bob")
    write = story.store.snapshot(story.service.state.journal.capture(0.0, 0.0))
    unsubscribe(story)
    write()
    story.restart()
    assert story.service.state.journal.state(ALICE).version == 0
    assert story.service.state.journal.state(User("main", "bob")).live is not None
    assert story.damages == []


def test_an_attempt_after_erasure_does_not_restore_the_user():
    """WeChat retries a message that was held when its sender unsubscribed."""
    story = open_story()
    sent = story.send("为什么？")
    story.advance(5.5)  # the first attempt is over, the second is held
    unsubscribe(story)
    story.advance(20)
    assert sent.done
    assert kinds(story)[-1] == "UserErased"
    assert story.service.state.journal.state(ALICE).version == 0
    assert len(story.model.calls) == 1
    story.open()
    assert story.service.state.journal.state(ALICE).live is not None, (
        "a new message opens a session"
    )


def test_an_erased_users_words_are_nowhere_in_memory():
    story = open_story()
    sent = story.send("天空为什么是蓝的？")
    story.advance(14.7)
    path = path_in(sent.reply)
    assert story.get(f"{path}/events").code == 200
    story.advance(8)  # the answer ends, and with it the reader's stream
    assert list(words_in(story.service, lambda text: "天空" in text))
    assert erase(story) == [True]
    assert list(words_in(story.service, lambda text: "天空" in text or ANSWER in text)) == []


def test_an_attempt_after_an_erasure_is_known_even_if_its_first_sending_was_misjudged():
    recently_erased = RecentlyErased()
    # A clock that was stepped makes a fresh message seem to have been under way for 15 s.
    before = EMPTY._replace(windows={"m1": Open(85.0, 1, "m1"), "m0": Open(20.0, 3, "m0")})
    recently_erased.note(ALICE, before, 102.0)
    assert recently_erased.knows(ALICE, "m1", 106.3)
    assert not recently_erased.knows(ALICE, "m1", 122.5)
    assert not recently_erased.knows(ALICE, "m0", 102.5)
