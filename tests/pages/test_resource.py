"""The pages over HTTP, as the whole service serves them."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.model_server import answer_at, streamed
from tests.support.story import URL, Story, configuration
from wxgptd import config as cfg
from wxgptd.domain.texts import Texts

ANSWER = "**天空**是蓝色的。\n\n因为空气把蓝光散射得更多。"
SENTENCES = ["第一段。\n\n", "第二段。\n\n", "第三段。\n\n", "第四段。"]
TEXTS = Texts()


def path_of(reply: str) -> str:
    return re.search(r"/[ah]/[\w-]{22}", reply).group()


def late(script, **more) -> tuple[Story, str]:
    """A story whose answer came too late for the chat, and its page."""
    story = Story(script, **more)
    story.open()
    sent = story.send("为什么 <b>？")
    story.advance(15)
    return story, path_of(sent.reply)


def blocks_of(page: str) -> list[str]:
    (answer,) = re.findall(r"<article[^>]*>(.*)</article>", page, re.DOTALL)
    begin, end = '<div class="block">', "</div>"
    return answer.removeprefix(begin).removesuffix(end).split(end + begin) if answer else []


def test_the_page_shows_question_and_answer_complete_and_without_a_script():
    story, path = late(answer_at(16, ANSWER))
    story.advance(2)
    response = story.get(path)
    assert response.code == 200
    assert "为什么 &lt;b&gt;？" in response.body
    assert "<strong>天空</strong>" in response.body
    assert TEXTS.page_done in response.body
    assert "live.js" not in response.body


def test_a_page_that_grows_brings_its_script_and_reloads_without_it():
    story, path = late(streamed(30, SENTENCES))
    body = story.get(path).body
    assert "live.js" in body
    assert '<noscript><meta http-equiv="refresh"' in body
    assert TEXTS.page_writing in body
    assert "第一段" in body
    assert "第四段" not in body


def test_before_the_first_word_it_says_that_the_model_thinks():
    story, path = late(answer_at(40, ANSWER))
    assert TEXTS.page_thinking in story.get(path).body


def test_a_question_in_line_says_so():
    story = Story(answer_at(40, ANSWER))
    story.open()
    story.send("一？")
    waiting = story.send("二？")
    story.advance(16)
    assert TEXTS.page_waiting in story.get(path_of(waiting.reply)).body


def test_the_headers_keep_it_private_and_inert():
    story, path = late(answer_at(16, ANSWER))
    headers = story.get(path).headers
    expected = {
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store, no-transform",
        "X-Robots-Tag": "noindex, nofollow, noarchive",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    for name, value in expected.items():
        assert headers.getRawHeaders(name) == [value]
    (policy,) = headers.getRawHeaders("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "path", ["/a/", "/a/short", "/a/" + "A" * 22, "/a/" + "A" * 22 + "/other", "/h/" + "A" * 22]
)
def test_a_link_that_leads_nowhere_says_only_that(path):
    story = Story(answer_at(1, ANSWER))
    response = story.get(path)
    assert response.code == 404


def test_unknown_expired_and_revoked_links_look_the_same():
    story, path = late(answer_at(16, ANSWER))
    story.advance(2)
    unknown = story.get("/a/" + "A" * 22)
    story.say("/clear")
    revoked = story.get(path)
    assert (revoked.code, revoked.body) == (unknown.code, unknown.body)
    other, old = late(answer_at(16, ANSWER), config=configuration(links=cfg.Links(ttl=60.0)))
    other.advance(60)
    expired = other.get(old)
    assert (expired.code, expired.body) == (unknown.code, unknown.body)


def test_opening_the_page_is_noted_once():
    story, path = late(answer_at(16, ANSWER))
    for _ in range(3):
        story.get(path)
    assert [type(event).__name__ for event in story.store.events()].count("PageOpened") == 1


def test_a_failed_answer_s_page_says_its_sentence():
    story, path = late(answer_at(16, ANSWER, finish="content_filter"))
    story.advance(2)
    assert TEXTS.failure_refused in story.get(path).body


# Live.


class Reader:
    """Somebody who reads the events of a page."""

    def __init__(self, story: Story, path: str, **headers: str) -> None:
        self.data = b""
        self.ended = False
        self._story = story
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        http = story._wechat_http
        http.get(URL + path, headers=named, unbuffered=True).addCallback(self._read)
        story.flush()

    def _read(self, response) -> None:
        self.response = response
        self._story._wechat_http.collect(response, self._take).addBoth(self._end)

    def _take(self, data: bytes) -> None:
        self.data += data

    def _end(self, _) -> None:
        self.ended = True

    @property
    def updates(self) -> list[dict]:
        return [
            json.loads(one) for one in re.findall(r"^data: (.*)$", self.data.decode(), re.MULTILINE)
        ]


def assembled(updates: list[dict], begin: list[str] | None = None) -> list[str]:
    """What the script makes of the updates."""
    shown = list(begin or [])
    for update in updates:
        fresh = list(update["blocks"])
        if update["keep"]:
            kept = shown[update["from"]].encode("utf-16-le")[: 2 * update["keep"]]
            fresh[0] = kept.decode("utf-16-le") + fresh[0]
        shown[update["from"] :] = fresh
    return shown


def test_the_answer_grows_by_events_to_what_the_page_shows_at_the_end():
    story, path = late(streamed(25, SENTENCES))
    snapshot = story.get(path).body
    position = re.search(r'data-position="([^"]+)"', snapshot).group(1)
    reader = Reader(story, f"{path}/events?position={position}")
    assert reader.response.headers.getRawHeaders("X-Accel-Buffering") == ["no"]
    story.advance(12)
    assert reader.ended
    assert reader.updates[-1]["final"]
    assert reader.updates[-1]["status"] == TEXTS.page_done
    final = story.get(path).body
    assert assembled(reader.updates, blocks_of(snapshot)) == blocks_of(final)


def test_a_reader_resumes_where_it_was_by_last_event_id():
    story, path = late(streamed(40, SENTENCES))
    first = Reader(story, f"{path}/events")
    story.advance(8)
    assert len(first.updates) >= 1
    position = first.updates[-1]["position"]
    second = Reader(story, f"{path}/events", last_event_id=position)
    story.advance(30)
    joined = assembled(second.updates, assembled(first.updates[:1] + first.updates[1:]))
    assert joined == blocks_of(story.get(path).body)
    assert second.updates[0]["from"] > 0


def test_a_stream_on_which_nothing_comes_is_kept_alive():
    story, path = late(answer_at(60, ANSWER))
    reader = Reader(story, f"{path}/events")
    story.advance(30)
    assert reader.data.count(b": still here") >= 2


def test_the_last_update_waits_for_the_log():
    story, path = late(answer_at(16, ANSWER))
    reader = Reader(story, f"{path}/events")
    story.store.stalled = True
    story.advance(5)
    assert not any(update["final"] for update in reader.updates)
    story.store.stalled = False
    story.store.commit()
    story.advance(1)
    assert reader.updates[-1]["final"]


def test_where_no_events_come_polling_brings_the_same():
    story, path = late(streamed(25, SENTENCES))
    shown, position = [], ""
    for _ in range(30):
        reader = Reader(story, f"{path}/poll?position={position}")
        for _ in range(60):
            if reader.ended:
                break
            story.advance(0.5)
        update = json.loads(reader.data)
        shown, position = assembled([update], shown), update["position"]
        if update["final"]:
            break
    assert update["final"]
    assert shown == blocks_of(story.get(path).body)


def test_a_poll_with_nothing_new_waits_and_then_says_so():
    story, path = late(answer_at(90, ANSWER))
    position = re.search(r'data-position="([^"]+)"', story.get(path).body).group(1)
    reader = Reader(story, f"{path}/poll?position={position}")
    story.advance(10)
    assert not reader.ended
    story.advance(12)
    assert json.loads(reader.data)["progress"] == "thinking"


def test_after_a_restart_the_page_never_joins_two_answers():
    story, path = late(streamed(40, [f"旧的第 {n} 段。\n\n" for n in range(20)]))
    reader = Reader(story, f"{path}/events")
    story.advance(3)
    old = assembled(reader.updates)
    position = reader.updates[-1]["position"]
    assert len(old) > 3
    story.model.respond = lambda _: streamed(2, [f"新的第 {n} 段。\n\n" for n in range(20)])
    story.restart()
    story.advance(5)
    again = Reader(story, f"{path}/events", last_event_id=position)
    story.advance(2)
    shown = assembled(again.updates, old)
    assert not any("旧" in block for block in shown)
    assert shown == blocks_of(story.get(path).body)


def test_a_settled_block_that_later_text_changes_is_sent_again():
    pieces = ["见[文档][1]。\n\n", "第二段。\n\n", "第三段。\n\n", "[1]: https://example.com/doc\n"]
    story, path = late(streamed(26, pieces))
    reader = Reader(story, f"{path}/events")
    story.advance(14)
    assert reader.updates[-1]["final"]
    assert assembled(reader.updates) == blocks_of(story.get(path).body)
    assert "https://example.com/doc" in assembled(reader.updates)[0]


def test_a_reader_who_takes_nothing_is_sent_nothing_more_and_dropped_in_the_end():
    story, path = late(streamed(110, [f"第 {n} 句。" for n in range(300)], first_s=1))
    reader = Reader(story, f"{path}/events")
    story.advance(1)
    channels = [pump.server._channel for pump in story._wechat_http._agent._pumps]
    (channel,) = [one for one in channels if one._handlingRequest]
    channel.pauseProducing()
    sent = len(reader.data)
    story.advance(30)
    assert len(reader.data) == sent
    story.advance(40)
    assert reader.ended


@pytest.mark.parametrize(
    "position", ["", "x", "0.²", "0.-1.0.writing", "9.9.9.done", "0." + "9" * 50]
)
def test_whatever_a_reader_says_it_has_seen_it_gets_the_answer(position):
    story, path = late(answer_at(16, ANSWER))
    story.advance(2)
    reader = Reader(story, f"{path}/events", last_event_id=position)
    assert reader.ended
    assert len(reader.updates) == 1


def test_a_reader_who_leaves_is_forgotten():
    story, path = late(answer_at(60, ANSWER))
    Reader(story, f"{path}/events")
    (flight,) = story.service.conversations._flights._flights.values()
    story.advance(1)
    assert len(flight._changes) == 1, "the reader does not wait for a change"
    for pump in list(story._wechat_http._agent._pumps):
        pump.clientIO.abortConnection()
    story.advance(0.1)
    assert flight._changes == []


# History.


def history_of(story: Story) -> str:
    return path_of(story.say("/history"))


def test_the_history_shows_the_user_s_own_sessions_newest_first():
    story = Story(answer_at(0.1, ANSWER))
    for user in ("alice", "bob"):
        story.open(user)
        for n in range(2):
            story.send(f"{user} 的问题 {n}", user)
            story.advance(0.5)
        story.say("/stop", user)
        story.open(user)
        story.send(f"{user} 的新问题", user)
        story.advance(0.5)
    body = story.get(history_of(story)).body
    assert "bob" not in body
    assert (
        body.index("alice 的新问题") < body.index("alice 的问题 0") < body.index("alice 的问题 1")
    )
    assert TEXTS.history_stopped in body
    assert "<strong>天空</strong>" in body


def test_a_long_history_is_paged_and_every_turn_is_on_one_page():
    story = Story(answer_at(0.1, "答。"))
    for n in range(15):
        if n % 5 == 0:
            story.say("/clear") if n else story.open()
        for m in range(3):
            story.send(f"问题-{n}-{m}-完")
            story.advance(0.3)
    path = history_of(story)
    pages = [story.get(f"{path}?page={number}").body for number in (1, 2, 3)]
    found = [re.findall(r"问题-\d+-\d+-完", page) for page in pages]
    assert [len(one) for one in found] == [20, 20, 5]
    assert len({turn for page in found for turn in page}) == 45
    assert story.get(f"{path}?page=99").code == story.get(f"{path}?page=x").code == 200


def test_the_history_s_link_dies_with_clear():
    story = Story(answer_at(0.1, ANSWER))
    story.open()
    path = history_of(story)
    assert story.get(path).code == 200
    story.say("/clear")
    assert story.get(path).code == 404


def test_leaving_the_account_takes_all_links_with_it():
    from wxgpt import messages

    story, path = late(answer_at(16, ANSWER))
    story.advance(2)
    history = history_of(story)
    story.say("/stop")
    story.deliver(messages.event_message("unsubscribe"))
    assert story.get(path).code == 404
    assert story.get(history).code == 404


def test_until_the_log_is_loaded_pages_say_that_the_service_is_starting():
    story, path = late(answer_at(16, ANSWER))
    story.service._ready = False
    response = story.get(path)
    assert response.code == 503
    assert TEXTS.page_starting in response.body
    assert response.headers.getRawHeaders("Retry-After") == ["2"]
    assert story.get(f"{path}/events").code == 503
    assert story.get("/readyz").code == 503
    assert story.get("/healthz").code == 200


def test_style_and_script_are_served_and_nothing_else():
    story = Story(answer_at(1, ANSWER))
    assert story.get("/static/page.css").code == 200
    assert story.get("/static/live.js").code == 200
    for path in ("/static/", "/static/../resource.py", "/static/page.html", "/", "/etc/passwd"):
        assert story.get(path).code == 404
