"""Rules for messages that are not for the model: the operator's replies, and other backends.

Enabling the server in WeChat's backend disables its keyword replies and menus; rules restore them.
Rules that are `always` tried come before everything else, the others handle what no session
accepts; both are tried in configuration order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from wxgptd.domain.model.values import (
    Content,
    Ignorable,
    Picture,
    Subscribe,
    Text,
    Unsubscribe,
    Unsupported,
)

# What a rule replies with.


@dataclass(frozen=True, slots=True)
class TextReply:
    """A text."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageReply:
    """A picture from WeChat's media library."""

    media_id: str


@dataclass(frozen=True, slots=True)
class VoiceReply:
    """A voice recording from WeChat's media library."""

    media_id: str


@dataclass(frozen=True, slots=True)
class VideoReply:
    """A video from WeChat's media library."""

    media_id: str
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class MusicReply:
    """A piece of music; `thumb_media_id` is its cover, from WeChat's media library."""

    url: str
    thumb_media_id: str
    title: str = ""
    description: str = ""
    hq_url: str = ""


@dataclass(frozen=True, slots=True)
class Article:
    """One entry of a news reply."""

    title: str
    url: str
    description: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True)
class NewsReply:
    """Articles, shown as cards."""

    articles: tuple[Article, ...]


RuleReply = TextReply | ImageReply | VoiceReply | VideoReply | MusicReply | NewsReply


@dataclass(frozen=True, slots=True)
class Backend:
    """Another server to which the message is forwarded as WeChat sent it."""

    url: str


# What a rule matches.


class Pattern(Protocol):
    """A compiled regular expression that searches in linear time for any pattern."""

    def search(self, text: str) -> object: ...


MAX_CHARS = 2_000
"""Only this many characters of a message are matched; typed messages are shorter."""

Matcher = Callable[[Content], bool]


def keyword(words: Sequence[str]) -> Matcher:
    """Match typed or spoken text that contains one of `words`, ignoring case."""
    folded = tuple(word.casefold() for word in words)

    def match(content: Content) -> bool:
        text = _folded(content)
        return any(word in text for word in folded)

    return match


def exact(words: Sequence[str]) -> Matcher:
    """Match typed or spoken text that is one of `words`, ignoring case and final punctuation."""
    phrases = frozenset(_without_final_punctuation(word.casefold()) for word in words)
    return lambda content: _without_final_punctuation(_folded(content)) in phrases


def _without_final_punctuation(text: str) -> str:
    """Return `text` without the punctuation that phone keyboards add at the end."""
    text = text.strip()
    return text.rstrip("。！.! ") or text


def regex(pattern: Pattern) -> Matcher:
    """Match typed or spoken text in which `pattern` occurs."""

    def match(content: Content) -> bool:
        text = _spoken(content)
        return bool(text) and pattern.search(text) is not None

    return match


def event(name: str, key: str = "") -> Matcher:
    """Match the event `name`, ignoring case, and its EventKey exactly unless `key` is empty."""
    folded = name.casefold()

    def match(content: Content) -> bool:
        match content:
            case Ignorable(name=event_name, key=event_key):
                pass
            case Subscribe(scene=event_key):
                event_name = "subscribe"
            case Unsubscribe():
                event_name, event_key = "unsubscribe", ""
            case _:
                return False
        return event_name.casefold() == folded and key in ("", event_key)

    return match


def kind(name: str) -> Matcher:
    """Match messages of the kind `name`; `event` matches all events."""
    return lambda content: kind_of(content) == name


def anything(_content: Content) -> bool:
    """Match every message and event."""
    return True


KINDS = (
    "text", "image", "voice", "video", "location", "link", "sticker", "event",
)  # fmt: skip


def kind_of(content: Content) -> str:
    """Return WeChat's message type for `content`."""
    match content:
        case Text(kind=name) | Unsupported(kind=name):
            return name
        case Picture():
            return "image"
        case _:
            return "event"


def _spoken(content: Content) -> str:
    """Return what the user typed or spoke; the title of a shared link does not count."""
    if isinstance(content, Text) and content.kind in ("text", "voice"):
        return content.text[:MAX_CHARS]
    return ""


@lru_cache(maxsize=1)
def _folded(content: Content) -> str:
    """Return the words of a message, case-folded once for all rules."""
    return _spoken(content).casefold()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `number` counts from 1, and `about` describes what it matches.

    `names_event` means that it matches one event by name, not a whole kind.
    """

    number: int
    about: str
    matches: Matcher
    always: bool
    action: RuleReply | Backend
    names_event: bool = False


def first(
    rules: Iterable[Rule], content: Content, *, always: bool, welcome: bool = False
) -> Rule | None:
    """Return the first rule that matches `content`, among those with this value of `always`.

    If there is a `welcome`, only a rule that names the event overrides it.
    """
    general = always or not (welcome and isinstance(content, Subscribe))
    return next(
        (
            rule
            for rule in rules
            if rule.always is always and (general or rule.names_event) and rule.matches(content)
        ),
        None,
    )
