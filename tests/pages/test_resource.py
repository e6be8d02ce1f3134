"""The pages over HTTP, as the whole service serves them."""

from __future__ import annotations

import gzip
import json
import re

import pytest
import treq
from twisted.web.http_headers import Headers

from tests.support.model_server import DONE, Script, Step, answer_at, chunk, streamed
from tests.support.story import URL, Story, configuration
from wxgptd import config as cfg
from wxgptd.domain.replies.texts import Texts

ANSWER = "**天空**是蓝色的。\n\n因为空气把蓝光散射得更多。"
SENTENCES = ["第一段。\n\n", "第二段。\n\n", "第三段。\n\n", "第四段。"]
TEXTS = Texts()


def path_of(reply: str) -> str:
    return re.search(r"/[ah]/[\w-]{22}", reply).group()


def late(script, config=None, **more) -> tuple[Story, str]:
    """Return a story whose answer is too late for the chat, and the path of its page."""
    story = Story(script, config or configuration(**more))
    story.open()
    sent = story.send("为什么 <b>？")
    story.advance(15)
    return story, path_of(sent.reply)


def blocks_of(page: str) -> list[str]:
    (answer,) = re.findall(r"<article[^>]*>(.*)</article>", page, re.DOTALL)
    begin, end = '<div class="block">', "</div>"
    return answer.removeprefix(begin).removesuffix(end).split(end + begin) if answer else []


def test_a_finished_page_shows_question_and_answer_without_a_script():
    story, path = late(answer_at(16, ANSWER))
    story.advance(2)
    response = story.get(path)
    assert response.code == 200
    assert "为什么 &lt;b&gt;？" in response.body
    assert "<strong>天空</strong>" in response.body
    assert TEXTS.page_done in response.body
    assert "live.js" not in response.body


def test_a_growing_page_loads_a_script_and_reloads_itself_without_one():
    story, path = late(streamed(30, SENTENCES))
    body = story.get(path).body
    assert "live.js" in body
    assert '<noscript><meta http-equiv="refresh"' in body
    assert TEXTS.page_writing in body
    assert "第一段" in body
    assert "第四段" not in body


def test_the_page_says_that_the_model_is_thinking_before_the_first_word():
    story, path = late(answer_at(40, ANSWER))
    assert TEXTS.page_thinking in story.get(path).body


def test_the_page_of_a_queued_question_says_so():
    story = Story(answer_at(40, ANSWER))
    story.open()
    story.send("一？")
    waiting = story.send("二？")
    story.advance(16)
    assert TEXTS.page_waiting in story.get(path_of(waiting.reply)).body


def test_headers_keep_the_page_private_and_inert():
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
def test_an_unknown_link_is_a_404(path):
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


def test_opening_the_page_is_recorded_once():
    story, path = late(answer_at(16, ANSWER))
    for _ in range(3):
        story.get(path)
    assert [type(event).__name__ for event in story.store.events()].count("PageOpened") == 1


def test_the_page_of_a_failed_answer_says_why():
    story, path = late(answer_at(16, ANSWER, finish="content_filter"))
    story.advance(2)
    assert TEXTS.failure_refused in story.get(path).body


# Live.


class Reader:
    """A client that reads the events of a page."""

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
            json.loads(data)
            for data in re.findall(r"^event: update\ndata: (.*)$", self.data.decode(), re.MULTILINE)
        ]


def assembled(updates: list[dict], begin: list[str] | None = None) -> list[str]:
    """Return the blocks that the script shows after the updates."""
    shown = list(begin or [])
    for update in updates:
        fresh = list(update["blocks"])
        if update["keep"]:
            kept = shown[update["from"]].encode("utf-16-le")[: 2 * update["keep"]]
            fresh[0] = kept.decode("utf-16-le") + fresh[0]
        shown[update["from"] :] = fresh
    return shown


def test_events_add_up_to_the_final_page():
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


def test_a_reader_resumes_from_its_last_event_id():
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


def test_an_idle_stream_is_kept_alive():
    story, path = late(answer_at(60, ANSWER))
    reader = Reader(story, f"{path}/events")
    story.advance(30)
    assert reader.data.count(b"event: beat") >= 2


def test_the_final_update_waits_for_the_log():
    story, path = late(answer_at(16, ANSWER))
    reader = Reader(story, f"{path}/events")
    story.store.stalled = True
    story.advance(5)
    assert not any(update["final"] for update in reader.updates)
    story.store.stalled = False
    story.store.commit()
    story.advance(1)
    assert reader.updates[-1]["final"]


def test_polling_delivers_the_same_answer_as_events():
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


def test_a_poll_without_updates_waits_before_it_returns():
    story, path = late(answer_at(90, ANSWER))
    position = re.search(r'data-position="([^"]+)"', story.get(path).body).group(1)
    reader = Reader(story, f"{path}/poll?position={position}")
    story.advance(10)
    assert not reader.ended
    story.advance(12)
    assert json.loads(reader.data)["progress"] == "thinking"


def test_the_page_never_joins_two_answers_after_a_restart():
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


def test_a_settled_block_changed_by_later_text_is_sent_again():
    pieces = ["见[文档][1]。\n\n", "第二段。\n\n", "第三段。\n\n", "[1]: https://example.com/doc\n"]
    story, path = late(streamed(26, pieces))
    reader = Reader(story, f"{path}/events")
    story.advance(14)
    assert reader.updates[-1]["final"]
    assert assembled(reader.updates) == blocks_of(story.get(path).body)
    assert "https://example.com/doc" in assembled(reader.updates)[0]


def test_a_stalled_reader_is_sent_nothing_more_and_eventually_dropped():
    story, path = late(streamed(110, [f"第 {n} 句。" for n in range(300)], first_s=1))
    reader = Reader(story, f"{path}/events")
    story.advance(1)
    channels = [pump.server._channel for pump in story._wechat_http._agent._pumps]
    (channel,) = [channel for channel in channels if channel._handlingRequest]
    channel.pauseProducing()
    sent = len(reader.data)
    story.advance(30)
    assert len(reader.data) == sent
    story.advance(40)
    assert reader.ended


@pytest.mark.parametrize(
    "position", ["", "x", "0.²", "0.-1.0.writing", "9.9.9.done", "0." + "9" * 50]
)
def test_a_reader_with_an_invalid_position_gets_the_answer(position):
    story, path = late(answer_at(16, ANSWER))
    story.advance(2)
    reader = Reader(story, f"{path}/events", last_event_id=position)
    assert reader.ended
    assert len(reader.updates) == 1


def test_a_reader_that_disconnects_is_forgotten():
    story, path = late(answer_at(60, ANSWER))
    Reader(story, f"{path}/events")
    (flight,) = story.service.answers.flights._flights.values()
    story.advance(1)
    assert len(flight._changes) == 1, "the reader does not wait for a change"
    for pump in list(story._wechat_http._agent._pumps):
        pump.clientIO.abortConnection()
    story.advance(0.1)
    assert flight._changes == []


def test_unfollowing_the_account_revokes_all_links():
    from wxgpt.wechat import messages

    story, path = late(answer_at(16, ANSWER))
    story.advance(2)
    history = path_of(story.say("/history"))
    story.say("/stop")
    story.deliver(messages.event_message("unsubscribe"))
    assert story.get(path).code == 404
    assert story.get(history).code == 404


def test_pages_say_that_the_service_is_starting_until_the_log_is_loaded():
    story, path = late(answer_at(16, ANSWER))
    story.service._lifecycle.ready = story.service._lifecycle.loaded = False
    response = story.get(path)
    assert response.code == 503
    assert TEXTS.page_starting in response.body
    assert response.headers.getRawHeaders("Retry-After") == ["2"]
    assert story.get(f"{path}/events").code == 503
    assert story.get("/readyz").code == 503
    assert story.get("/healthz").code == 200


def test_style_and_script_are_the_only_static_files():
    story = Story(answer_at(1, ANSWER))
    assert story.get("/static/page.css").code == 200
    assert story.get("/static/live.js").code == 200
    for path in ("/static/", "/static/../resource.py", "/static/page.html", "/etc/passwd"):
        assert story.get(path).code == 404


# Costs.


def test_five_hundred_readers_of_one_answer_cost_one_rendering():
    paragraph = "一段不短的话，用来把渲染送进线程里去。" * 120 + "\n\n"
    story, path = late(streamed(20, [paragraph, "完。"], first_s=16))
    readers = [Reader(story, f"{path}/events") for _ in range(500)]
    before = story.threaded
    story.advance(1.5)
    assert story.threaded == before + 1
    story.advance(6)
    assert all(reader.ended for reader in readers)
    assert len({reader.data for reader in readers}) == 1
    assert readers[0].updates[-1]["final"]


def test_only_the_new_part_of_a_growing_block_is_sent():
    story, path = late(streamed(24, [f"第 {n} 句，没有分段。" for n in range(60)]))
    reader = Reader(story, f"{path}/events")
    story.advance(10)
    assert reader.ended
    assert any(update["keep"] for update in reader.updates)
    assert len(reader.data) < 4 * len("".join(assembled(reader.updates)).encode()) + 8_000
    assert assembled(reader.updates) == blocks_of(story.get(path).body)


def raw(story: Story, path: str, accepted: str) -> tuple[Headers, bytes]:
    """Return the headers and the body as sent, without decompressing it."""
    agent, responses = story._wechat_http._agent, []
    sent = agent.request(b"GET", f"{URL}{path}".encode(), Headers({"accept-encoding": [accepted]}))
    body: list[bytes] = []
    sent.addCallback(
        lambda response: responses.append(response) or treq.collect(response, body.append)
    )
    for _ in range(5):
        agent.flush()
    return responses[0].headers, b"".join(body)


@pytest.mark.parametrize("file", ["", "/static/page.css", "/static/live.js"])
def test_pages_and_files_are_compressed_for_clients_that_accept_it(file):
    story, path = late(answer_at(16, ANSWER * 50))
    story.advance(2)
    headers, packed = raw(story, file or path, "br, gzip")
    assert headers.getRawHeaders("Content-Encoding") == ["gzip"]
    assert headers.getRawHeaders("Vary") == ["Accept-Encoding"]
    plain_headers, plain = raw(story, file or path, "identity")
    assert plain_headers.getRawHeaders("Content-Encoding") is None
    assert len(packed) < len(plain)
    assert gzip.decompress(packed) == plain


def test_events_are_never_compressed():
    story, path = late(answer_at(60, ANSWER))
    headers, _ = raw(story, f"{path}/events", "gzip")
    assert headers.getRawHeaders("Content-Encoding") is None


# Thoughts of the model.


def thoughts_in(body: str) -> str:
    return re.search(r'<details id="thoughts"[^>]*>.*?</details>', body, re.DOTALL).group()


def thoughtful(*, show: bool, words: str = "", path=None) -> tuple[Story, str]:
    thought = b'data: {"choices": [{"delta": {"reasoning_content": "%s"}}]}\n\n'
    steps = [
        Step(1, thought % "先想<b>一想".encode()),
        Step(15.5, thought % "，再想".encode()),
        Step(30, chunk("答案。") + chunk(finish="stop") + DONE, end=True),
    ]
    assistant = cfg.Assistant(base_url="http://model.test/v1", model="m", show_reasoning=show)
    moderation = cfg.Moderation()
    if words:
        (path / "words").write_text(words)
        moderation = cfg.Moderation(words_file=path / "words")
    return late(
        Script(steps), config=configuration(assistant={"chatgpt": assistant}, moderation=moderation)
    )


def test_thoughts_can_be_expanded_if_the_operator_allows_it():
    story, path = thoughtful(show=True)
    details = thoughts_in(story.get(path).body)
    assert "先想&lt;b&gt;一想" in details
    assert "open" not in details
    assert "hidden" not in details
    reader = Reader(story, f"{path}/events")
    story.advance(20)
    thoughts = ""
    for update in reader.updates:
        thoughts = thoughts[: update["thoughts"]["from"]] + update["thoughts"]["text"]
        if thoughts.endswith("再想"):
            break
    assert thoughts == "先想<b>一想，再想"
    assert assembled(reader.updates) == ["<p>答案。</p>"]
    assert "先想" not in repr(story.store.events()), "thoughts are not recorded"


def test_thoughts_are_withheld_unless_the_operator_allows_them():
    story, path = thoughtful(show=False)
    assert "hidden" in thoughts_in(story.get(path).body)
    assert "先想" not in story.get(path).body


def test_thoughts_with_moderated_words_are_not_shown(tmp_path):
    story, path = thoughtful(show=True, words="再想\n", path=tmp_path)
    assert "先想" in story.get(path).body
    story.advance(1)
    assert "先想" not in story.get(path).body
    story.advance(15)
    assert "答案。" in story.get(path).body


def test_the_page_shows_the_waiting_time():
    story, path = late(answer_at(40, ANSWER))
    assert 'data-waited="14"' in story.get(path).body or 'data-waited="15"' in story.get(path).body
    story.advance(5)
    assert "已等 20 秒" in story.get(path).body or "已等 19 秒" in story.get(path).body


def test_the_scripts_stay_small():
    """Phones pay by the byte; 20 KB compressed is the budget for all scripts together."""
    story = Story(answer_at(1, ANSWER))
    sizes = [
        len(gzip.compress(story.get(f"/static/{name}.js").body.encode(), 9))
        for name in ("ask", "copy", "live", "read")
    ]
    assert sum(sizes) < 20_000, sizes
