"""WeChat's XML: parse messages strictly, and write replies. Pure.

The parser accepts what WeChat sends and nothing else: no DTD, no processing instruction, no other
encoding, with limits on size, depth and number of tags. Control characters that XML forbids do
occur in real messages and are removed first. In a reply, `]]>` is split and characters that XML 1.0
cannot carry are left out. wechatpy does neither; all else is tested against it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import NoReturn, assert_never
from urllib.parse import unquote
from xml.parsers import expat

from wxgptd.domain.intake.rules import (
    ImageReply,
    MusicReply,
    NewsReply,
    RuleReply,
    TextReply,
    VideoReply,
    VoiceReply,
)
from wxgptd.domain.model.values import (
    EVENT_PREFIX,
    Content,
    DeliveryKey,
    Ignorable,
    OpenId,
    Picture,
    Subscribe,
    Text,
    Unsubscribe,
    Unsupported,
)
from wxgptd.errors import WxgptError
from wxgptd.wechat.kinds import EVENTS, MESSAGES

MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 8
MAX_TAGS = 512
MAX_URL = 1_024
"""WeChat's longest EventKey, the URL of a menu entry, has this many bytes."""

_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")
_FORBIDDEN_UTF8 = re.compile(rb"\xef\xbf[\xbe\xbf]|\xed[\xa0-\xbf][\x80-\xbf]")
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STICKER = "【收到不支持的消息类型，暂无法显示】"
"""The text that WeChat sends for stickers and anything else that has no message type."""

Fields = dict[str, str]


class Malformed(WxgptError):
    """the body is not a WeChat message"""


def parse(body: bytes) -> Fields:
    """Return the texts of the elements directly below the root, by name.

    Deeper elements belong to messages that contain lists and are skipped. So are repeated elements
    in events, some of which have lists at the top level.

    Raises:
        Malformed: the body is not a WeChat message.
    """
    if len(body) > MAX_BODY_BYTES:
        raise Malformed(f"the body is longer than {MAX_BODY_BYTES} bytes")
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    parser.ProcessingInstructionHandler = reader.refuse_instruction
    parser.XmlDeclHandler = reader.declaration
    scrubbed = _FORBIDDEN_UTF8.sub(b"", body.translate(None, _CONTROLS))
    try:
        parser.Parse(scrubbed, True)
    except expat.ExpatError as error:
        raise Malformed(f"the body is not XML: {expat.ErrorString(error.code)}") from None
    if reader.repeated and reader.fields.get("MsgType", "").lower() != "event":
        raise Malformed(f"the element {reader.repeated} occurs more than once")
    return reader.fields


class _Reader:
    def __init__(self) -> None:
        self.fields: Fields = {}
        self.repeated = ""
        self._depth = 0
        self._tags = 0
        self._name = ""
        self._is_repeat = False

    def start(self, name: str, _attributes: object) -> None:
        self._depth += 1
        self._tags += 1
        if self._depth == 1 and name != "xml":
            raise Malformed("the root element is not <xml>")
        if self._depth > MAX_DEPTH or self._tags > MAX_TAGS:
            raise Malformed("the body is nested too deeply or has too many elements")
        if self._depth == 2:
            self._is_repeat = name in self.fields
            if self._is_repeat:
                self.repeated = name
            else:
                self._name = name
                self.fields[name] = ""

    def end(self, _name: str) -> None:
        self._depth -= 1

    def text(self, data: str) -> None:
        if self._depth == 2 and not self._is_repeat:
            self.fields[self._name] += data

    def refuse_doctype(self, *_: object) -> NoReturn:
        raise Malformed("the body has a document type declaration")

    def refuse_instruction(self, *_: object) -> NoReturn:
        raise Malformed("the body has a processing instruction")

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8"):
            raise Malformed(f"the body declares its encoding as {encoding}, not UTF-8")


def sender(fields: Fields) -> OpenId:
    """Return the sender of the message.

    Raises:
        Malformed: FromUserName is missing or too long.
    """
    openid = fields.get("FromUserName", "")
    if not openid or len(openid) > 128:
        raise Malformed("FromUserName is missing or too long")
    return OpenId(openid)


def recipient(fields: Fields) -> str:
    """Return WeChat's own name for the account that the message was sent to.

    Raises:
        Malformed: ToUserName is missing or too long.
    """
    name = fields.get("ToUserName", "")
    if not name or len(name) > 128:
        raise Malformed("ToUserName is missing or too long")
    return name


def delivery_key(fields: Fields, secret: bytes) -> DeliveryKey:
    """Return the key that all attempts to deliver this message share.

    WeChat's rule is to identify messages by MsgId, and events, which have none, by sender and
    CreateTime. A message without MsgId is identified by its content, because two such messages
    must never be treated as one. Without `secret`, the key reveals neither the content nor the
    EventKey (the scene of a QR code may name a person).
    """
    message_id = fields.get("MsgId", "")
    if message_id.isascii() and message_id.isdigit() and len(message_id) <= 20:
        return DeliveryKey(message_id)
    created = fields.get("CreateTime", "")[:20]
    if fields.get("MsgType") == "event":
        name, key = fields.get("Event", ""), fields.get("EventKey", "")
        return DeliveryKey(f"{EVENT_PREFIX}{created}:{_digest(secret, (name, key))}")
    parts = (part for item in sorted(fields.items()) if item[0] != "FromUserName" for part in item)
    return DeliveryKey(f"digest:{created}:{_digest(secret, parts)}")


def sent_at(fields: Fields) -> int:
    """Return the message's CreateTime, in seconds since the epoch by WeChat's clock; 0 if none."""
    created = fields.get("CreateTime", "")
    return int(created) if created.isascii() and created.isdigit() and len(created) <= 11 else 0


def _digest(secret: bytes, parts: Iterable[str]) -> str:
    data = "\0".join(parts).encode("utf-8", "replace")
    return hmac.digest(secret, data, sha256).hex()[:32]


def content(fields: Fields) -> Content:
    """Return the content of the message.

    Raises:
        Malformed: it has no type.
    """
    kind = fields.get("MsgType", "").lower()
    match kind:
        case "":
            raise Malformed("MsgType is missing")
        case "text":
            text = fields.get("Content", "")
            if text == STICKER:
                return Unsupported("sticker")
            # Some clients send the text of a tapped link still percent-encoded.
            tapped = "bizmsgmenuid" in fields
            return Text(unquote(text) if tapped else text, tapped=tapped)
        case "location":
            return Text(_location(fields), kind)
        case "link":
            return Text(_link(fields), kind)
        case "image":
            return Picture(fields.get("PicUrl", "").strip()[:MAX_URL])
        case "shortvideo":
            return Unsupported("video")
        case "event":
            return _event(fields)
        case "voice":
            # WeChat is withdrawing speech recognition: most voice messages arrive without it.
            transcript = str(MESSAGES["voice"](fields).recognition or "").strip()
            return Text(transcript, kind) if transcript else Unsupported(kind)
        case _:
            return Unsupported(kind[:32])


def _location(fields: Fields) -> str:
    label, x, y = (fields.get(name, "").strip() for name in ("Label", "Location_X", "Location_Y"))
    return f"[位置] {label}（纬度 {x}，经度 {y}）" if label else f"[位置] 纬度 {x}，经度 {y}"


def _link(fields: Fields) -> str:
    parts = (fields.get(name, "").strip() for name in ("Title", "Description", "Url"))
    return "\n".join(["[链接]", *filter(None, parts)])


def _event(fields: Fields) -> Content:
    name = fields.get("Event", "").lower()
    match name:
        case "subscribe":
            scene = str(EVENTS["subscribe_scan"](fields).scene_id or "")
            return Subscribe(scene.removeprefix("qrscene_")[:128])
        case "unsubscribe":
            return Unsubscribe()
        case _:
            return Ignorable(name[:64], fields.get("EventKey", "")[:MAX_URL])


_REPLY = (
    "<xml><ToUserName><![CDATA[%s]]></ToUserName><FromUserName><![CDATA[%s]]></FromUserName>"
    "<CreateTime>%d</CreateTime><MsgType><![CDATA[%s]]></MsgType>%s</xml>"
)
_ENCRYPTED = (
    "<xml><Encrypt><![CDATA[%s]]></Encrypt><MsgSignature><![CDATA[%s]]></MsgSignature>"
    "<TimeStamp>%s</TimeStamp><Nonce><![CDATA[%s]]></Nonce></xml>"
)


def text_reply(to: str, source: str, created: float, text: str) -> str:
    """Return the XML of a text reply from `source` to `to`."""
    return _reply(to, source, created, "text", _element("Content", text))


def reply(to: str, source: str, created: float, said: RuleReply) -> str:
    """Return the XML of a reply of any kind from `source` to `to`.

    Source: WeChat's "Passive user reply message".
    """
    match said:
        case TextReply(text=text):
            return text_reply(to, source, created, text)
        case ImageReply(media_id=media_id):
            kind, inner = "image", _element("MediaId", media_id)
            body = f"<Image>{inner}</Image>"
        case VoiceReply(media_id=media_id):
            kind, inner = "voice", _element("MediaId", media_id)
            body = f"<Voice>{inner}</Voice>"
        case VideoReply():
            kind = "video"
            inner = _elements(MediaId=said.media_id, Title=said.title, Description=said.description)
            body = f"<Video>{inner}</Video>"
        case MusicReply():
            kind = "music"
            inner = _elements(
                Title=said.title,
                Description=said.description,
                MusicUrl=said.url,
                HQMusicUrl=said.hq_url or said.url,
                ThumbMediaId=said.thumb_media_id,
            )
            body = f"<Music>{inner}</Music>"
        case NewsReply(articles=articles):
            kind = "news"
            items = "".join(
                "<item>"
                + _elements(
                    Title=article.title,
                    Description=article.description,
                    PicUrl=article.picture,
                    Url=article.url,
                )
                + "</item>"
                for article in articles
            )
            body = f"<ArticleCount>{len(articles)}</ArticleCount><Articles>{items}</Articles>"
        case _:
            assert_never(said)
    return _reply(to, source, created, kind, body)


def _reply(to: str, source: str, created: float, kind: str, body: str) -> str:
    return _REPLY % (cdata(to), cdata(source), created, kind, body)


def _element(name: str, text: str) -> str:
    return f"<{name}><![CDATA[{cdata(text)}]]></{name}>"


def _elements(**texts: str) -> str:
    return "".join(_element(name, text) for name, text in texts.items())


def encrypted_reply(encrypted: str, signature: str, timestamp: str, nonce: str) -> str:
    """Return the XML of a reply in safe mode."""
    return _ENCRYPTED % (encrypted, signature, timestamp, nonce)


def cdata(text: str) -> str:
    """Return `text` escaped for use between `<![CDATA[` and `]]>`."""
    return _FORBIDDEN.sub("", text).replace("]]>", "]]]]><![CDATA[>")
