"""The fields of each kind of message, as in WeChat's documentation, without the addresses."""

from __future__ import annotations

import secrets

from wxgptd.wechat.envelope import STICKER

KINDS = ("text", "image", "voice", "video", "shortvideo", "location", "link", "sticker")


def text_message(text: str, *, tapped: bool = False) -> dict[str, str]:
    """Return the fields of a text message, either typed or sent by tapping a link."""
    message = {"MsgType": "text", "Content": text, "MsgId": message_id()}
    return {**message, "bizmsgmenuid": "1"} if tapped else message


def image_message(url: str) -> dict[str, str]:
    """Return the fields of a picture."""
    return {"MsgType": "image", "PicUrl": url, "MediaId": _media_id(), "MsgId": message_id()}


def event_message(event: str, key: str = "") -> dict[str, str]:
    """Return the fields of an event."""
    return {"MsgType": "event", "Event": event, "EventKey": key}


def message(kind: str, text: str) -> dict[str, str]:
    """Return the fields of a message of that kind; `text` is its content.

    That is an image's URL, a voice message's recognised text, a location's label, or a link's URL.
    """
    match kind:
        case "text":
            return text_message(text)
        case "sticker":
            return text_message(STICKER)
        case "image":
            return image_message(text or "http://mmbiz.qpic.cn/mmbiz_jpg/wxgpt/0")
        case "voice":
            words = {"Recognition": text} if text else {}
            fields = {"MediaId": _media_id(), "Format": "amr", **words, "MediaId16K": _media_id()}
        case "location":
            fields = {
                "Location_X": "23.134521",
                "Location_Y": "113.358803",
                "Scale": "20",
                "Label": text or "位置信息",
            }
        case "link":
            fields = {"Title": "标题", "Description": "说明", "Url": text or "https://example.com/"}
        case _:
            fields = {"MediaId": _media_id(), "ThumbMediaId": _media_id()}
    return {"MsgType": kind, **fields, "MsgId": message_id()}


def message_id() -> str:
    """Return a message id like WeChat's: 64 bits, in decimal."""
    return str(secrets.randbits(62) | 1 << 62)


def _media_id() -> str:
    return secrets.token_urlsafe(24)
