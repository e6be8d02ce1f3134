"""WeChat's XML: what is accepted, what is rejected, and what a reply looks like."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wechatpy import parse_message
from wechatpy import replies as theirs
from wechatpy.replies import TextReply

from tests.support.field import FIELD
from wxgptd.domain.intake import rules
from wxgptd.domain.model.values import Ignorable, Picture, Subscribe, Text, Unsubscribe, Unsupported
from wxgptd.wechat import envelope
from wxgptd.wechat.envelope import MAX_BODY_BYTES, MAX_TAGS, Malformed

HEAD = (
    "<ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[oUser]]></FromUserName>"
    "<CreateTime>1348831860</CreateTime>"
)


SECRET = b"s" * 32


def message(rest: str) -> bytes:
    return f"<xml>{HEAD}{rest}</xml>".encode()


TEXT = message(
    "<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[this is a test]]></Content>"
    "<MsgId>1234567890123456</MsgId>"
)


def content_of(rest: str):
    return envelope.content(envelope.parse(message(rest)))


def test_the_documented_text_message_is_parsed():
    fields = envelope.parse(TEXT)
    assert envelope.sender(fields) == "oUser"
    assert envelope.recipient(fields) == "gh_1"
    assert envelope.content(fields) == Text("this is a test")
    assert envelope.delivery_key(fields, SECRET) == "1234567890123456"


@pytest.mark.parametrize(
    ("rest", "content"),
    [
        ("<MsgType>image</MsgType><PicUrl><![CDATA[http://x]]></PicUrl>", Picture("http://x")),
        ("<MsgType>voice</MsgType><Format>amr</Format>", Unsupported("voice")),
        (
            "<MsgType>voice</MsgType><Recognition><![CDATA[你好]]></Recognition>",
            Text("你好", "voice"),
        ),
        ("<MsgType>video</MsgType>", Unsupported("video")),
        ("<MsgType>shortvideo</MsgType>", Unsupported("video")),
        (
            "<MsgType>text</MsgType><Content>【收到不支持的消息类型，暂无法显示】</Content>",
            Unsupported("sticker"),
        ),
        (
            (
                "<MsgType>location</MsgType><Location_X>23.134521</Location_X>"
                "<Location_Y>113.358803</Location_Y><Scale>20</Scale><Label>越秀公园</Label>"
            ),
            Text("[位置] 越秀公园（纬度 23.134521，经度 113.358803）", "location"),
        ),
        (
            "<MsgType>location</MsgType><Location_X>1.0</Location_X><Location_Y>2.0</Location_Y>",
            Text("[位置] 纬度 1.0，经度 2.0", "location"),
        ),
        (
            (
                "<MsgType>link</MsgType><Title>官网</Title><Description>介绍</Description>"
                "<Url>https://example.com/</Url>"
            ),
            Text("[链接]\n官网\n介绍\nhttps://example.com/", "link"),
        ),
        ("<MsgType>something_new</MsgType>", Unsupported("something_new")),
        ("<MsgType>event</MsgType><Event>subscribe</Event><EventKey></EventKey>", Subscribe("")),
        (
            "<MsgType>event</MsgType><Event>subscribe</Event><EventKey>qrscene_7</EventKey>",
            Subscribe("7"),
        ),
        ("<MsgType>event</MsgType><Event>unsubscribe</Event>", Unsubscribe()),
        ("<MsgType>event</MsgType><Event>VIEW</Event>", Ignorable("view")),
        (
            "<MsgType>event</MsgType><Event>CLICK</Event><EventKey>PRICES</EventKey>",
            Ignorable("click", "PRICES"),
        ),
        (
            "<MsgType>event</MsgType><Event>SCAN</Event><EventKey>7</EventKey><Ticket>t</Ticket>",
            Ignorable("scan", "7"),
        ),
        (
            "<MsgType>event</MsgType><Event>LOCATION</Event><Latitude>23.1</Latitude>",
            Ignorable("location"),
        ),
        ("<MsgType>event</MsgType><Event>yet_to_come</Event>", Ignorable("yet_to_come")),
    ],
)
def test_each_kind_of_message_is_understood(rest, content):
    assert content_of(rest) == content


def test_wechatpy_parses_a_message_to_the_same_fields():
    theirs = parse_message(TEXT)
    fields = envelope.parse(TEXT)
    assert theirs.content == fields["Content"]
    assert theirs.source == fields["FromUserName"]
    assert str(theirs.id) == envelope.delivery_key(fields, SECRET)


def test_control_characters_that_xml_forbids_are_scrubbed():
    body = message("<MsgType>text</MsgType><Content>a\x1db\x00c</Content>")
    assert envelope.content(envelope.parse(body)) == Text("abc")


def test_only_the_first_level_of_a_nested_event_is_read():
    fields = envelope.parse(
        message(
            "<MsgType>event</MsgType><Event>pic_weixin</Event><SendPicsInfo><Count>2</Count>"
            "<PicList><item><P>a</P></item><item><P>b</P></item></PicList></SendPicsInfo>"
        )
    )
    assert fields["Event"] == "pic_weixin"
    assert fields["SendPicsInfo"] == ""


BAD = {
    "nothing": b"",
    "no XML": b"hello",
    "JSON": b'{"a": 1}',
    "another root": b"<root></root>",
    "cut off": TEXT[:-10],
    "two roots": TEXT + TEXT,
    "a document type": b"<!DOCTYPE xml [<!ENTITY a 'b'>]>" + TEXT,
    "billion laughs": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml>&b;</xml>',
    "an external entity": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml>&a;</xml>',
    "a processing instruction": b"<?php ?>" + TEXT,
    "another encoding": b'<?xml version="1.0" encoding="gbk"?>' + TEXT,
    "UTF-16": TEXT.decode().encode("utf-16"),
    "not UTF-8": b"<xml><a>\xff\xfe\xfa</a></xml>",
    "an element twice": message("<MsgType>text</MsgType><MsgType>text</MsgType>"),
    "too deep": b"<xml>" + b"<a>" * 9 + b"</a>" * 9 + b"</xml>",
    "too many": b"<xml><l>" + b"<a/>" * MAX_TAGS + b"</l></xml>",
    "too long": b"<xml><a>" + b"x" * MAX_BODY_BYTES + b"</a></xml>",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_a_malformed_body_is_rejected(body):
    with pytest.raises(Malformed):
        envelope.parse(body)


LISTS = sorted((FIELD / "17-events-with-lists").glob("*.xml"))


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_events_with_lists_are_parsed(path):
    fields = envelope.parse(path.read_bytes())
    assert envelope.sender(fields) == "OPENID"
    assert not isinstance(envelope.content(fields), Text)


def test_the_first_of_repeated_elements_in_an_event_is_used():
    inside = "<Event>subscribe</Event><EventKey>a</EventKey><EventKey><b>c</b>d</EventKey>"
    fields = envelope.parse(message(f"<MsgType>event</MsgType>{inside}<Event>x</Event>"))
    assert fields["EventKey"] == "a"
    assert envelope.content(fields) == Subscribe("a")


@pytest.mark.parametrize("missing", ["ToUserName", "FromUserName", "MsgType"])
def test_a_message_without_a_required_field_is_rejected(missing):
    fields = envelope.parse(TEXT)
    del fields[missing]
    read = {
        "ToUserName": envelope.recipient,
        "FromUserName": envelope.sender,
        "MsgType": envelope.content,
    }
    with pytest.raises(Malformed, match=missing):
        read[missing](fields)


@given(st.binary(max_size=200), st.integers(0, len(TEXT)))
def test_mutated_bodies_raise_only_malformed(junk, at):
    for body in (junk, TEXT[:at] + junk + TEXT[at:], TEXT[:at] + junk):
        try:
            fields = envelope.parse(body)
            envelope.sender(fields)
            envelope.recipient(fields)
            envelope.content(fields)
            envelope.delivery_key(fields, SECRET)
        except Malformed:
            pass


# Delivery keys.


def test_a_delivery_key_does_not_reveal_the_scene_or_the_text():
    scene = key(MsgType="event", Event="subscribe", EventKey="qrscene_patient-4711")
    assert "patient" not in scene
    fields = {"FromUserName": "o", "CreateTime": "1", "MsgType": "text", "Content": "a"}
    assert envelope.delivery_key(fields, SECRET) != envelope.delivery_key(fields, b"t" * 32)
    assert key(Content="a") == key(Content="a", FromUserName="another")


def key(**fields: str) -> str:
    return envelope.delivery_key(
        {"FromUserName": "o", "CreateTime": "1", "MsgType": "text", **fields}, SECRET
    )


def test_messages_without_an_id_are_identified_by_their_content():
    assert key(Content="a") == key(Content="a")
    assert key(Content="a") != key(Content="b")
    assert key(Content="a", MsgId="0x1") != "0x1"


def test_events_are_identified_by_time_name_and_key():
    delivery_key = key(MsgType="event", Event="CLICK", EventKey="k")
    assert delivery_key.startswith("event:1:")
    assert delivery_key != key(MsgType="event", Event="CLICK", EventKey="l")
    assert delivery_key != key(MsgType="event", Event="CLICK", EventKey="k", CreateTime="2")
    assert len(key(MsgType="event", Event="CLICK", EventKey="k" * 5_000)) < 100


# Replies.


def test_a_text_reply_matches_wechatpy_s():
    ours = envelope.parse(envelope.text_reply("oUser", "gh_1", 1_700_000_000.9, "你好").encode())
    theirs = envelope.parse(
        TextReply(target="oUser", source="gh_1", time=1_700_000_000, content="你好")
        .render()
        .encode()
    )
    assert ours == theirs


ADDRESSED = {"target": "oUser", "source": "gh_1", "time": 1_700_000_000}
ARTICLE = {"title": "标题", "description": "说明", "image": "http://p/1.jpg", "url": "http://a/1"}


def articles(count: int) -> theirs.ArticlesReply:
    reply = theirs.ArticlesReply(**ADDRESSED)
    for _ in range(count):
        reply.add_article(dict(ARTICLE))
    return reply


@pytest.mark.parametrize(
    ("ours", "by_wechatpy"),
    [
        (rules.TextReply("你好"), theirs.TextReply(**ADDRESSED, content="你好")),
        (rules.ImageReply("m1"), theirs.ImageReply(**ADDRESSED, media_id="m1")),
        (rules.VoiceReply("m1"), theirs.VoiceReply(**ADDRESSED, media_id="m1")),
        (
            rules.VideoReply("m1", "题", "述"),
            theirs.VideoReply(**ADDRESSED, media_id="m1", title="题", description="述"),
        ),
        (
            rules.MusicReply("http://m", "t1", "题", "述", "http://hq"),
            theirs.MusicReply(
                **ADDRESSED,
                thumb_media_id="t1",
                title="题",
                description="述",
                music_url="http://m",
                hq_music_url="http://hq",
            ),
        ),
        (
            rules.NewsReply((rules.Article("标题", "http://a/1", "说明", "http://p/1.jpg"),) * 2),
            articles(2),
        ),
    ],
    ids=["text", "image", "voice", "video", "music", "news"],
)
def test_each_kind_of_reply_matches_wechatpy_s(ours, by_wechatpy):
    def tree(element):
        children = sorted(tree(child) for child in element)
        return element.tag, (element.text or "").strip(), children

    xml = envelope.reply("oUser", "gh_1", 1_700_000_000, ours)
    written, expected = (
        {child.tag: tree(child) for child in ET.fromstring(text)}
        for text in (xml, by_wechatpy.render())
    )
    assert written == expected


@given(st.text())
def test_a_reply_is_valid_xml_for_any_text(text):
    xml = envelope.text_reply("o", "g", 0.0, text).encode()
    assert envelope.parse(xml)["Content"] == envelope._FORBIDDEN.sub("", text).replace(
        "\r\n", "\n"
    ).replace("\r", "\n")


@pytest.mark.parametrize("text", ["]]>", "a]]>b]]>", "]]]]>>", "<xml>", "&amp;", "]]"])
def test_text_that_looks_like_xml_stays_text(text):
    assert envelope.parse(envelope.text_reply("o", "g", 0.0, text).encode())["Content"] == text
