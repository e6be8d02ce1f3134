"""Fill in the catalogue's texts for settled replies, pushes and pages.

Pure: the same reply gives the same text, however often WeChat asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil

from wxgptd.domain.decide.limits import LIMIT_NOTICES
from wxgptd.domain.decide.offering import IN_LINE, IN_LINE_PUSHED, OPEN, PUSHED
from wxgptd.domain.intake.routing import RejectionReason
from wxgptd.domain.model.events import PushStarted
from wxgptd.domain.model.session import Completed, Failed, Question
from wxgptd.domain.model.values import FailureReason, Finish, Reply, ReplyKind
from wxgptd.domain.replies import taps
from wxgptd.domain.replies.texts import DEFAULT_TITLE, MAX_REPLY_BYTES, Texts, without_taps
from wxgptd.domain.text import paging
from wxgptd.domain.text.answer_length import offers_more
from wxgptd.domain.text.bidi import without_controls
from wxgptd.domain.text.inert import inert

PLANNED_REPLY_BYTES = 2_000
"""The size that replies are planned for, footer included."""

LEAST_ROOM_BYTES = 300
"""The minimum room for an answer, however long the texts around it: those lose their taps, or are
cut."""

MAX_REMINDED_CHARS = 20

_TAP = taps.Placeholder()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyContext:
    """The values that one account's texts may refer to."""

    commands: Mapping[str, str]
    """Each assistant's chat command, by assistant name."""
    titles: Mapping[str, str]
    """Each assistant's title, as users see it, by assistant name."""
    ttl_s: float
    days: int
    without_command: bool = False
    welcome: str = ""
    taps: bool = True
    several_models: bool = False

    def without_taps(self) -> ReplyContext:
        """Return the same context without taps."""
        return replace(self, welcome=taps.without_taps(self.welcome), taps=False)


def history_dropped(date: str, texts: Texts) -> str:
    """Return the line stating that history before `date` was deleted."""
    return _fill(texts.history_dropped, date=date)


def history_found(count: int, texts: Texts) -> str:
    """Return the line that states how many results a search has."""
    return _fill(texts.history_found, count=str(count)) if count else texts.history_not_found


def history_count(count: int, texts: Texts) -> str:
    """Return the words for a number of turns."""
    return _fill(texts.history_count, count=str(count))


def history_open_one(count: int, texts: Texts) -> str:
    """Return the words of the link to a conversation that the list has no space for."""
    return _fill(texts.history_open_one, count=str(count))


def page_earlier(count: int, texts: Texts) -> str:
    """Return the words of the folded turns before a page's own."""
    return _fill(texts.page_earlier, count=str(count))


def page_skipped(count: int, texts: Texts) -> str:
    """Return the line in place of turns that a page leaves out."""
    return _fill(texts.page_skipped, count=str(count))


def page_share_failed(count: int, texts: Texts) -> str:
    """Return why turns could not be shared; a user may have `count` links to shared turns."""
    return _fill(texts.page_share_failed, count=str(count))


def page_busy(seconds: int, texts: Texts) -> str:
    """Return the text of a page that is requested too often."""
    return _fill(texts.page_busy, seconds=str(seconds))


def rejection(why: RejectionReason, texts: Texts) -> str:
    """Return the reply to a message that is not accepted."""
    full = why is RejectionReason.DISK_FULL
    return _fill(texts.storage_full if full else texts.overloaded)


def elapsed(seconds: str, texts: Texts) -> str:
    """Return the text for how long a reader has waited for an answer."""
    return _fill(texts.page_elapsed, count=seconds)


def room(texts: Texts, link: str) -> int:
    """Return how many bytes of an answer fit in a reply with its longest footer."""
    linking = (texts.more, texts.still_writing, texts.still_writing_pushed)
    footers = [_fill(text, link=link) for text in linking]
    footers += [_fill(texts.cut_short), _fill(texts.interrupted)]
    footers += [
        _fill(texts.failed_midway, failure=failure_text(reason, 86_400.0, texts))
        for reason in FailureReason
    ]
    longest = max(len(footer.encode()) for footer in footers) + len("\n\n")
    extras = "".join(f"\n\n{_fill(text)}" for text in (texts.trimmed, texts.ai_label))
    return max(PLANNED_REPLY_BYTES - longest - len(extras.encode()), LEAST_ROOM_BYTES)


def render(
    reply: Reply,
    question: Question | None,
    link: str,
    texts: Texts,
    context: ReplyContext,
    reminder: str = "",
) -> str:
    """Return the text of a settled reply, the same for each late attempt.

    `question` is the one that the reply is about; `link` leads to its page, or to the history.
    `reminder` is the line about an unseen answer.
    """
    text = _render_with_trim_notice(reply, question, link, texts, context)
    # Answers are cut to fit; a fixed text may be too long once an operator's values are filled in.
    room = MAX_REPLY_BYTES - (len(f"\n\n{reminder}".encode("utf-8", "replace")) if reminder else 0)
    if len(text.encode("utf-8", "replace")) > room:
        # Without taps, so that no link is cut in the middle.
        text = _render_with_trim_notice(
            reply, question, link, without_taps(texts), context.without_taps()
        )
    return _with_footer(text[: paging.cut(text, 0, room)], reminder)


def _render_with_trim_notice(
    reply: Reply, question: Question | None, link: str, texts: Texts, context: ReplyContext
) -> str:
    text = _render(reply, question, link, texts, context)
    if question is not None and question.trimmed and reply.start == 0 and reply.end:
        text = _with_footer(text, _fill(texts.trimmed))
    return text


def reminder(unseen: Question, link: str, texts: Texts) -> str:
    """Return the line that reminds the user of an unseen answer."""
    excerpt = " ".join(without_controls(unseen.text).split()) or texts.page_picture
    if len(excerpt) > MAX_REMINDED_CHARS:
        excerpt = excerpt[:MAX_REMINDED_CHARS] + "…"
    # Last: the cut may have left a tag, "<a" of "<aside".
    return _fill(texts.unseen, question=inert(excerpt), link=link)


def pushed(push: PushStarted, question: Question, link: str, texts: Texts, *, last: bool) -> str:
    """Return the text of a pushed part; the `last` one allowed states where the rest is."""
    if push.start == push.end:
        return _failure(question, texts)
    answer = paging.readable(question.answer.text, push.style)
    body = paging.page(answer, push.start, push.end, push.style)
    if push.rest and not last:
        return _with_footer(body, "")
    return _with_footer(body, _footer(question, link, texts, rest=push.rest))


_WAITING: Mapping[str, Callable[[Texts], str]] = {
    PUSHED: lambda texts: texts.waiting_pushed,
    IN_LINE: lambda texts: texts.waiting_in_line,
    IN_LINE_PUSHED: lambda texts: texts.waiting_in_line_pushed,
    "": lambda texts: texts.waiting,
}


def _render(
    reply: Reply, question: Question | None, link: str, texts: Texts, context: ReplyContext
) -> str:
    match reply.kind:
        case ReplyKind.NOTICE:
            return _notice(reply, link, texts, context)
        case ReplyKind.LINK:
            return _fill(_WAITING[reply.about](texts), link=link)
        case ReplyKind.FAILURE:
            return _failure(question, texts)
        case ReplyKind.PARTIAL:
            pushed = reply.about == PUSHED
            footer = texts.still_writing_pushed if pushed else texts.still_writing
            # A reply that was recorded by an earlier version may contain a link.
            body = _labelled(inert(reply.text), reply, texts)
            return _with_footer(body, _fill(footer, link=link))
        case ReplyKind.ANSWER:
            assert question is not None
            answer = paging.readable(question.answer.text, reply.style)
            body = paging.page(answer, reply.start, reply.end, reply.style)
            footer = _footer(question, link, texts, rest=reply.rest)
            return _with_footer(_labelled(body, reply, texts), footer)


def _labelled(body: str, reply: Reply, texts: Texts) -> str:
    """Return `body` with the AI-generated label, if it is the first part of an answer."""
    first = reply.start == 0 and bool(body.strip())
    return _with_footer(body, _fill(texts.ai_label)) if first else body


def _notice(reply: Reply, link: str, texts: Texts, context: ReplyContext) -> str:
    about = inert(reply.about)
    commands = texts.between_commands.join(
        _tappable(command, command, context) for command in context.commands.values()
    )
    start = texts.start_directly if context.without_command else texts.start
    if reply.notice == "help" and reply.about == OPEN:
        start = texts.start_open
    return _fill(
        _template(reply, texts, context),
        assistant=context.titles.get(reply.about, DEFAULT_TITLE),
        kind=about,
        scene=about,
        model=about.split("\n")[0],
        models="、".join(
            _tappable(f"/model {name}", name, context) for name in about.split("\n")[1:]
        ),
        nearest=_tappable(about, about, context) if reply.notice == "no_such_command" else "",
        when=_when(reply.about, texts) if reply.notice in LIMIT_NOTICES else "",
        minutes=round(context.ttl_s / 60) or 1,
        ttl=_span(context.ttl_s, texts),
        days=context.days,
        link=link,
        commands=commands,
        start=_fill(start, commands=commands),
    )


def _template(reply: Reply, texts: Texts, context: ReplyContext) -> str:
    """Return the text of a notice, with its placeholders."""
    template: str = getattr(texts, reply.notice, "")
    match reply.notice:
        case "welcome":
            return context.welcome
        case "not_understood":
            return getattr(texts, f"not_understood_{reply.about}", template)
        case "help" if context.several_models:
            return f"{template}\n{texts.help_models}"
        case "session_stopped" if reply.about:
            return texts.session_stopped_answer
        case "blocked" if reply.about:
            return texts.blocked_for
        case "no_such_command" if not reply.about:
            return texts.no_such_command_help
        case _:
            return template


def _span(seconds: float, texts: Texts) -> str:
    """Return a duration in words, rounded to minutes, in the largest unit that divides it."""
    minutes = max(round(seconds / 60), 1)
    if minutes % (24 * 60) == 0:
        return _fill(texts.for_days, count=minutes // (24 * 60))
    if minutes % 60 == 0:
        return _fill(texts.for_hours, count=minutes // 60)
    return _fill(texts.for_minutes, count=minutes)


def _tappable(words: str, label: str, context: ReplyContext) -> str:
    return taps.link(words, label) if context.taps else label


def _when(seconds: str, texts: Texts) -> str:
    """Return the time until something happens, in words."""
    if not seconds:
        return ""
    count = int(seconds)
    if count < 2 * 60:
        return _fill(texts.in_seconds, count=count)
    if count < 2 * 3_600:
        return _fill(texts.in_minutes, count=ceil(count / 60))
    return _fill(texts.in_hours, count=ceil(count / 3_600))


def failure_text(reason: FailureReason, retry_after_s: float, texts: Texts) -> str:
    """Return the text that informs a user that a question failed for `reason`."""
    template: str = getattr(texts, f"failure_{reason}")
    return _fill(template, seconds=ceil(retry_after_s) or 10)


def _failure(question: Question | None, texts: Texts) -> str:
    if question is not None and isinstance(question.answer, Failed):
        answer = question.answer
        return failure_text(answer.reason, answer.retry_after_s, texts)
    return failure_text(FailureReason.UNAVAILABLE, 0.0, texts)


def _footer(question: Question, link: str, texts: Texts, *, rest: bool) -> str:
    if rest:
        return _fill(texts.more, link=link)
    match question.answer:
        case Completed(finish=Finish.LENGTH):
            return _fill(texts.cut_short)
        case Completed(text=text) if offers_more(text):
            return _fill(texts.offered_more)
        case Failed(reason=FailureReason.INTERRUPTED):
            return _fill(texts.interrupted)
        case Failed(reason=reason, retry_after_s=retry_after_s):
            failure = failure_text(reason, retry_after_s, texts)
            return _fill(texts.failed_midway, failure=failure)
        case _:
            return ""


def _with_footer(body: str, footer: str) -> str:
    body = body.strip("\n").rstrip()
    return f"{body}\n\n{footer}" if footer else body


def _fill(template: str, **values: object) -> str:
    return template.format_map({"tap": _TAP, **values})
