"""Messages handled by rules, as WeChat and another backend see them."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.model_server import answer_at
from tests.support.outside import Recorder
from tests.support.story import Story, configuration, safe_account
from wxgpt.wechat import messages
from wxgptd import config as cfg

ANSWER = "因为空气。"
TOKEN_ACCOUNT = cfg.Account(token=cfg.Secret("storytoken"))
OLD = "https://old.example.com/wechat?site=7"
REPLY = b"<xml><ToUserName>alice</ToUserName><FromUserName>gh_wxgpt_local</FromUserName><MsgType>text</MsgType><Content>old</Content></xml>"


def test_a_scene_can_have_wechat_s_qrscene_prefix():
    rule = cfg.Rule(match="event:subscribe:qrscene_7", reply=cfg.RuleReply(text="扫码欢迎"))
    assert (
        make_story(rule).deliver(messages.event_message("subscribe", "qrscene_7")).reply
        == "扫码欢迎"
    )


def keyword(word: str, text: str, **more) -> cfg.Rule:
    return cfg.Rule(match="keyword", words=(word,), reply=cfg.RuleReply(text=text), **more)


def forward_all(url: str, **more) -> cfg.Rule:
    return cfg.Rule(match="any", forward=url, **more)


def make_story(
    *rules: cfg.Rule, account: cfg.Account = TOKEN_ACCOUNT, answer=lambda *_: REPLY, **more
):
    story = Story(answer_at(0.1, ANSWER), configuration(rule=rules, account={"main": account}))
    story.backend = Recorder(answer)
    story.outside.hosts["old.example.com"] = story.backend
    return story


def test_a_keyword_matches_outside_a_session_and_is_a_question_inside():
    story = make_story(keyword("价格", "十元"))
    assert story.say("价格是多少") == "十元"
    assert story.say("别的") is None
    assert story.store.events() == []
    story.open()
    sent = story.send("价格是多少")
    story.advance(1)
    assert sent.reply == ANSWER


def test_an_always_rule_takes_precedence_over_sessions_and_commands():
    story = make_story(
        keyword("chatgpt", "维护中", always=True), keyword("人工", "400", always=True)
    )
    assert story.say("/chatgpt") == "维护中"
    story = make_story(keyword("人工", "400", always=True))
    story.open()
    assert story.say("转人工") == "400"
    assert story.model.calls == []


def test_commands_take_precedence_over_other_rules():
    story = make_story(keyword("/", "规则"))
    assert "我是 AI 助手" in story.say("/chatgpt")
    story.say("/stop")
    assert story.say("/nothing") == "规则"
    assert story.say("继续") is None


def test_text_that_matches_no_rule_opens_a_session_if_configured():
    account = cfg.Account(token=cfg.Secret("storytoken"), open_without_command=True)
    story = make_story(keyword("价格", "十元"), account=account)
    assert story.say("价格") == "十元"
    sent = story.send("为什么")
    story.advance(1)
    assert sent.reply == ANSWER


def test_a_message_that_a_session_silently_rejects_is_not_forwarded():
    story = Story(
        answer_at(0.1, ANSWER),
        configuration(rule=(forward_all(OLD),), limits=cfg.Limits(messages_per_minute=1)),
    )
    story.outside.hosts["old.example.com"] = story.backend = Recorder(lambda *_: REPLY)
    story.open()
    assert "有点快" in story.say("你好")
    assert story.say("秘密") is None
    assert "有点快" in story.say("/clear"), "a command is rejected with a reply each time"
    assert "/history" in story.say("/help")
    story.say("/chatgpt", "bob")
    assert story.backend.requests == []
    story.send("你好", "carol", attempts=1)
    assert len(story.backend.requests) == 1


def test_an_event_belongs_to_no_session():
    story = make_story(cfg.Rule(match="event:CLICK:LATEST", reply=cfg.RuleReply(text="菜单")))
    story.open()
    assert story.deliver(messages.event_message("CLICK", "LATEST")).reply == "菜单"


def test_the_backend_s_timeout_starts_when_the_message_arrives():
    story = make_story(forward_all(OLD), answer=lambda *_: None)
    story.crash()
    story.prepare()
    sent = story.send("你好")
    story.advance(3)
    story.service.load()
    story.service.begin()
    story.advance(1.7)
    assert sent.results == ["success"]


def test_rules_apply_once_a_session_has_expired():
    story = make_story(keyword("价格", "十元"))
    story.open()
    story.advance(299.5)
    story.clock.rightNow += 1  # not swept yet
    story.world_clock.rightNow += 1
    assert story.say("价格") == "十元"


def test_a_rule_applies_to_the_accounts_it_names():
    accounts = {"main": TOKEN_ACCOUNT, "two": TOKEN_ACCOUNT}
    rules = (keyword("价格", "十元", account=("two",)),)
    story = Story(answer_at(1, ANSWER), configuration(rule=rules, account=accounts))
    assert story.say("价格") is None
    assert story.say("价格", account="two") == "十元"


def test_a_rule_for_new_followers_replaces_the_welcome():
    account = cfg.Account(token=cfg.Secret("storytoken"), welcome="欢迎")
    rule = cfg.Rule(match="event:subscribe:7", reply=cfg.RuleReply(text="扫码欢迎"))
    story = make_story(rule, account=account)
    subscription = messages.event_message("subscribe", "qrscene_7")
    assert story.deliver(subscription).reply == "扫码欢迎"
    assert story.deliver(subscription).reply == "扫码欢迎"
    assert story.deliver(messages.event_message("subscribe", "qrscene_8")).reply == "欢迎"
    assert next(type(event).__name__ for event in story.store.events()) == "UserSubscribed"


def test_a_welcome_takes_precedence_over_catch_all_rules():
    account = cfg.Account(token=cfg.Secret("storytoken"), welcome="欢迎")
    story = make_story(forward_all(OLD), account=account)
    assert story.deliver(messages.event_message("subscribe")).reply == "欢迎"
    assert story.backend.requests == []
    story = make_story(forward_all(OLD, always=True), account=account)
    story.deliver(messages.event_message("subscribe"))
    assert len(story.backend.requests) == 1


def test_an_unsubscription_is_recorded_and_forwarded():
    story = make_story(forward_all(OLD, always=True))
    story.deliver(messages.event_message("subscribe"))
    story.deliver(messages.event_message("unsubscribe"))
    kinds = [type(event).__name__ for event in story.store.events()]
    assert kinds == ["UserSubscribed", "UserUnsubscribed", "UserErased"]
    assert len(story.backend.requests) == 2


def test_only_menu_clicks_that_match_a_rule_are_answered():
    news = cfg.RuleReply(news=(cfg.Article(title="最新", url="https://e.example/1"),))
    story = make_story(cfg.Rule(match="event:CLICK:LATEST", reply=news))
    assert story.deliver(messages.event_message("CLICK", "LATEST")).reply == "[news] 最新"
    assert story.deliver(messages.event_message("CLICK", "OTHER")).reply is None


@pytest.mark.parametrize("account", [TOKEN_ACCOUNT, safe_account()], ids=["plain", "safe"])
def test_a_message_is_forwarded_exactly_as_wechat_sent_it(account):
    story = make_story(forward_all(OLD), account=account)
    wechat = story.wechat()
    url, body = wechat.request("alice", messages.text_message("你好 &+%"))
    story.attempt(url, body)
    (forwarded_url, forwarded_body, headers) = story.backend.requests[0]
    query = parse_qs(urlsplit(forwarded_url.decode()).query, strict_parsing=True)
    assert query.pop("site") == ["7"]
    assert query == parse_qs(urlsplit(url).query)
    assert forwarded_body == body
    assert headers[b"content-type"] == b"text/xml"
    assert headers[b"user-agent"] == b"Mozilla/4.0"
    assert story.store.events() == []


def test_the_backend_s_response_is_returned_unchanged():
    def answer(request, _):
        request.setHeader(b"content-type", b"text/xml;charset=gbk")
        return b"\n<xml>\xff\x00 anything"

    story = make_story(forward_all(OLD), answer=answer)
    url, body = story.wechat().request("alice", messages.text_message("你好"))
    responses = []
    story._wechat_http.post(url, data=body).addCallback(responses.append)
    story.flush()
    assert responses[0].headers.getRawHeaders("content-type") == ["text/xml;charset=gbk"]
    bodies = []
    story._wechat_http.content(responses[0]).addCallback(bodies.append)
    story.flush()
    assert bodies == [b"\n<xml>\xff\x00 anything"]


def test_wechat_gets_success_before_it_retries_if_the_backend_is_silent():
    story = make_story(forward_all(OLD), answer=lambda *_: None)
    sent = story.send("你好")
    assert not sent.done
    story.advance(4.7)
    assert sent.results == ["success"]
    assert story.backend.hung_up == 1


@pytest.mark.parametrize("status", [201, 301, 404, 500])
def test_wechat_gets_success_if_the_backend_fails(status):
    def answer(request, _):
        request.setResponseCode(status)
        request.setHeader(b"location", b"http://elsewhere.example/")
        return b"oops"

    story = make_story(forward_all(OLD), answer=answer)
    assert story.send("你好").results == ["success"]
    assert len(story.backend.requests) == 1


@pytest.mark.parametrize("account", [TOKEN_ACCOUNT, safe_account()], ids=["plain", "safe"])
def test_wechat_gets_success_instead_of_a_reply_it_would_reject(account, logged):
    story = make_story(forward_all(OLD), account=account, answer=lambda *_: b"<html>oops</html>")
    assert story.send("你好").results == ["success"]
    assert any("not a reply that WeChat accepts" in line for line in logged())
    story = make_story(forward_all(OLD), account=safe_account(), answer=lambda *_: REPLY)
    assert story.send("你好").results == ["success"]


def test_wechat_gets_success_instead_of_an_oversized_backend_response():
    story = make_story(forward_all(OLD), answer=lambda *_: b"x" * 300_000)
    assert story.send("你好").results == ["success"]


def test_a_hang_up_by_wechat_cancels_the_forwarded_request():
    story = make_story(forward_all(OLD), answer=lambda *_: None)
    url, body = story.wechat().request("alice", messages.text_message("你好"))
    attempt = story._wechat_http.post(url, data=body)
    attempt.addErrback(lambda _: None)
    story.flush()
    attempt.cancel()
    story.flush()
    assert story.backend.hung_up == 1


def test_a_catastrophic_pattern_does_not_stall_the_daemon():
    rule = cfg.Rule(match="regex", pattern="(a+)+$", reply=cfg.RuleReply(text="x"))
    story = make_story(rule)
    began = time.process_time()
    assert story.say("a" * 1_500 + "b") is None
    assert time.process_time() - began < 5  # Python's `re` would run for years
    assert story.say("baaa") == "x"


@pytest.mark.processes
def test_a_response_that_ends_when_the_connection_closes_is_complete(tmp_path):
    """On a real socket, a body without a Content-Length is complete when the connection closes."""
    import socket
    import subprocess
    import sys

    script = """
import sys
from twisted.internet import task
from twisted.internet.defer import Deferred
from wxgptd.outbound.client import http_client
from wxgptd.wechat.forwarding import Forwarder, Original
async def main(reactor):
    forwarder = Forwarder(http_client(reactor), reactor, 5.0, lambda took_s, answered: None)
    original = Original(b"a=1", b"<xml/>", {}.get)
    print(await forwarder.forward(sys.argv[1], original, reactor.seconds()))
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        client = subprocess.Popen(
            [sys.executable, "-c", script, url], stdout=subprocess.PIPE, encoding="utf-8"
        )
        server.settimeout(20)
        connection, _ = server.accept()
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n<xml>hi</xml>")
        connection.close()
        output, _ = client.communicate(timeout=20)
    assert "<xml>hi</xml>" in output
