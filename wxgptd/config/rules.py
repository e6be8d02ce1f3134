"""Compile `[[rule]]` tables into rules, and find the mistakes in them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import urlsplit

from wxgptd.config.tables import Config, Rule, RuleReply, webhook_path
from wxgptd.config.values import address_error, parse_http_url
from wxgptd.domain.intake import rules
from wxgptd.domain.replies import taps
from wxgptd.domain.replies.texts import MAX_REPLY_BYTES
from wxgptd.wording import say

MAX_ARTICLES = 8
MAX_PATTERN_CHARS = 1_000

_REPLIES = ("text", "image", "voice", "video", "music", "news")


def compiled(config: Config, account: str) -> tuple[rules.Rule, ...]:
    """Return the rules for messages to `account`, from a configuration without mistakes."""
    return tuple(
        rules.Rule(
            number=number,
            about=_about(rule),
            matches=_matcher(rule),
            always=rule.always,
            action=rules.Backend(rule.forward)
            if rule.forward
            else _reply(rule.reply, links=config.reply.taps),
            names_event=rule.match.startswith("event:"),
        )
        for number, rule in enumerate(config.rule, 1)
        if not rule.account or account in rule.account
    )


def _about(rule: Rule) -> str:
    match rule.match:
        case "keyword" | "exact":
            return f"{rule.match} {', '.join(rule.words)}"
        case "regex":
            return f"regex {rule.pattern}"
        case other:
            return other


def _matcher(rule: Rule) -> rules.Matcher:
    kind, _, about = rule.match.partition(":")
    match kind:
        case "keyword":
            return rules.keyword(rule.words)
        case "exact":
            return rules.exact(rule.words)
        case "regex":
            return rules.regex(_pattern(rule.pattern))
        case "kind":
            return rules.kind(about)
        case "event":
            name, _, key = about.partition(":")
            # WeChat adds this prefix to the scene of a QR code when a new follower scans it.
            return rules.event(name, key.removeprefix("qrscene_"))
        case _:
            return rules.anything


@lru_cache(maxsize=1_000)
def _pattern(pattern: str) -> rules.Pattern:
    """Compile `pattern` with RE2, which searches in linear time for any pattern.

    Raises:
        ValueError: RE2 rejects it.
    """
    import re2  # noqa: PLC0415 (import it only if a rule needs it)

    options = re2.Options()
    options.log_errors = False
    try:
        compiled_pattern: rules.Pattern = re2.compile(pattern, options)
    except re2.error as error:
        message = error.args[0]
        why = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
        raise ValueError(why) from None
    return compiled_pattern


def _reply(reply: RuleReply, *, links: bool) -> rules.RuleReply:
    """Return a rule's reply; the taps in a text become links, or plain words without `links`."""
    if reply.text:
        return rules.TextReply(taps.filled(reply.text, links=links))
    if reply.image:
        return rules.ImageReply(reply.image)
    if reply.voice:
        return rules.VoiceReply(reply.voice)
    if reply.video:
        return rules.VideoReply(reply.video, reply.title, reply.description)
    if reply.music:
        return rules.MusicReply(reply.music, reply.cover, reply.title, reply.description)
    return rules.NewsReply(
        tuple(
            rules.Article(article.title, article.url, article.description, article.picture)
            for article in reply.news
        )
    )


# Mistakes.


def mistakes(config: Config) -> Iterator[str]:
    """Yield every mistake in the rules, each with its key."""
    for number, rule in enumerate(config.rule, 1):
        where = f"rule.{number}"
        for name in rule.account:
            if name not in config.account:
                yield say("{where}.account: there is no [account.{name}]", where=where, name=name)
        yield from _matching_mistakes(where, rule)
        if rule.forward and rule.reply != RuleReply():
            yield say(
                "{where}: has both a `reply` and a `forward`; a rule can have only one", where=where
            )
        elif not rule.forward and rule.reply == RuleReply():
            yield say("{where}: has neither a `reply` nor a `forward`", where=where)
        elif rule.forward:
            yield from _forward_mistakes(where, rule.forward, config)
        else:
            yield from _reply_mistakes(where, rule)


def _matching_mistakes(where: str, rule: Rule) -> Iterator[str]:
    kind, colon, about = rule.match.partition(":")
    if kind in ("keyword", "exact") and not colon:
        if not [word for word in rule.words if word.strip()] or "" in rule.words:
            yield say(
                '{where}.words: needs the words to match, such as words = ["价格", "多少钱"]',
                where=where,
            )
    elif kind == "regex" and not colon:
        yield from _pattern_mistakes(where, rule.pattern)
    elif kind == "kind" and colon:
        if about not in rules.KINDS:
            yield say(
                "{where}.match: no such kind {about}, known: {kinds}",
                where=where,
                about=about,
                kinds=", ".join(rules.KINDS),
            )
    elif kind == "event" and colon:
        if not about.partition(":")[0]:
            yield say(
                "{where}.match: needs the event's name, such as event:CLICK:MENU_KEY", where=where
            )
    elif not rule.match:
        yield say('{where}.match: is missing; for example match = "keyword"', where=where)
        return
    elif rule.match != "any":
        yield (
            say(
                '{where}.match: must be "keyword", "exact", "regex", "event:NAME:KEY", '
                '"kind:image" or "any", not "{found}"',
                where=where,
                found=rule.match,
            )
        )
    if rule.words and kind not in ("keyword", "exact"):
        yield say('{where}.words: belongs to match = "keyword" or "exact"', where=where)
    if rule.pattern and kind != "regex":
        yield say('{where}.pattern: belongs to match = "regex"', where=where)


def _pattern_mistakes(where: str, pattern: str) -> Iterator[str]:
    if not pattern:
        yield say("{where}.pattern: is missing; for example '^[0-9]{{6}}$'", where=where)
    elif len(pattern) > MAX_PATTERN_CHARS:
        yield say(
            "{where}.pattern: is longer than {max_pattern_chars} characters",
            where=where,
            max_pattern_chars=MAX_PATTERN_CHARS,
        )
    else:
        try:
            _pattern(pattern)
        except ValueError as error:
            yield say(
                "{where}.pattern: is not a regular expression that RE2 accepts: {error}",
                where=where,
                error=error,
            )


def _forward_mistakes(where: str, url: str, config: Config) -> Iterator[str]:
    address = parse_http_url(url)
    if address is None:
        yield say("{where}.forward: {address_error}", where=where, address_error=address_error(url))
        return
    if address.fragment:
        yield say(
            "{where}.forward: has a part after #, which is never sent to the server", where=where
        )
    if address.username is not None:
        yield say(
            "{where}.forward: must not contain a user name or password, because it is logged",
            where=where,
        )
    own = urlsplit(config.server.public_url)
    prefix = own.path.rstrip("/")
    paths = {prefix + webhook_path(name, account) for name, account in config.account.items()}
    if address.netloc == own.netloc and address.path in paths:
        yield say(
            "{where}.forward: is this daemon's own address, so messages would loop", where=where
        )


def _reply_mistakes(where: str, rule: Rule) -> Iterator[str]:
    reply = rule.reply
    kinds = [name for name in _REPLIES if getattr(reply, name)]
    if len(kinds) > 1:
        yield say(
            "{where}.reply: has {kinds}; a reply can have only one",
            where=where,
            kinds=" and ".join(kinds),
        )
        return
    if not kinds:
        yield say("{where}.reply: needs one of {replies}", where=where, replies=", ".join(_REPLIES))
        return
    if len(reply.text.encode("utf-8", "replace")) > MAX_REPLY_BYTES:
        yield say(
            "{where}.reply.text: is longer than the {max_reply_bytes} bytes that WeChat accepts",
            where=where,
            max_reply_bytes=MAX_REPLY_BYTES,
        )
    if reply.music and not reply.cover:
        yield say("{where}.reply.cover: is required with music: a media_id", where=where)
    if reply.music and parse_http_url(reply.music) is None:
        yield say(
            "{where}.reply.music: {address_error}",
            where=where,
            address_error=address_error(reply.music),
        )
    most = MAX_ARTICLES if rule.match.startswith("event:") else 1
    if len(reply.news) > most:
        yield (
            say(
                "{where}.reply.news: WeChat accepts 1 article in a reply to a message, "
                "{max_articles} in a reply to an event",
                where=where,
                max_articles=MAX_ARTICLES,
            )
        )
    for number, article in enumerate(reply.news, 1):
        if not article.title or parse_http_url(article.url) is None:
            yield say(
                "{where}.reply.news.{number}: needs a title and a url", where=where, number=number
            )
