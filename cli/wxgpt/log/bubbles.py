"""Show the log as a chat: what users say on the left, the answers on the right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

from wxgpt import render
from wxgpt.daemon_words import heard
from wxgpt.language import shown, spoken
from wxgpt.log import rendering
from wxgpt.log.replies import Replies
from wxgptd.domain.model import events as e
from wxgptd.ports.record import AnyRecord, Recorded

SHOWN = frozenset(
    {
        "SessionOpened", "SessionClosed", "QuestionAsked", "AnswerCompleted", "AnswerFailed",
        "MessageDeclined", "CommandGiven", "ReplyOffered",
    }
)  # fmt: skip
"""The kinds of events that are part of a chat."""

MOST_COLUMNS = 64
LEAST_COLUMNS = 20


class Chat:
    """Draws the events of a chat, for a terminal of some width.

    `names` are those of users, `replies` the texts of replies.
    """

    def __init__(
        self, names: Mapping[str, str], replies: Replies, *, utc: bool, width: int
    ) -> None:
        self._names = names
        self._replies = replies
        self._utc = utc
        self._width = min(width, 100)
        self._most = max(LEAST_COLUMNS, min(MOST_COLUMNS, self._width * 3 // 4))

    def lines(self, record: AnyRecord) -> Iterator[str]:
        """Yield what an event looks like; nothing for most events."""
        at = rendering.when(record.event.at, utc=self._utc)
        who = rendering.who(record.user, self._names)
        why = record.hidden if isinstance(record, Recorded) else ""
        hidden = f"[{shown(why)}]" if why else ""
        match record.event:
            case e.SessionOpened(assistant=assistant):
                yield self._rule(
                    spoken("{who} begins with {assistant}", who=who, assistant=assistant)
                )
            case e.SessionClosed(reason=reason):
                yield self._rule(f"{who}: {shown(rendering.words(reason))}")
            case e.QuestionAsked(text=text, image=image):
                picture = spoken("[picture] ") if image else ""
                said = hidden or f"{picture}{text}"
                yield from self._bubble(f"{who}  {at}", said, right=False)
            case e.CommandGiven(command=command) if command != "open":
                yield from self._bubble(f"{who}  {at}", f"/{command.split()[0]}", right=False)
            case e.ReplyOffered(notice=notice) as reply if notice:
                text = self._replies.text_of(reply, record.user.account)
                yield from self._bubble(at, text, right=True)
            case e.AnswerCompleted(text=text, took_s=took_s, usage=usage):
                head = f"{usage.assistant}  +{took_s:.1f} s  {at}".strip()
                yield from self._bubble(head, hidden or text, right=True)
            case e.AnswerFailed(reason=reason, detail=detail):
                what = f"{shown(rendering.words(reason))}: {heard(detail)}".rstrip(": ")
                yield from self._bubble(at, what, right=True, colour="red")
            case e.MessageDeclined() as event:
                yield self._rule(f"{who}: {rendering.declined(event)}")
            case _:
                pass

    def _rule(self, text: str) -> str:
        text = render.shorten(render.printable(text), self._width - 8)
        return click.style(f"── {text} ".ljust(6) + "─" * 4, dim=True)

    def _bubble(
        self, head: str, text: str, *, right: bool, colour: str | None = None
    ) -> Iterator[str]:
        paragraphs = render.multiline(text).strip().split("\n")
        lines = [
            line for each in paragraphs for line in (render.wrap(each, self._most - 4) or [""])
        ]
        lines = [render.shorten(line, self._most - 4) for line in lines]
        inner = max([render.columns(line) for line in lines])
        indent = " " * (self._width - inner - 4) if right else ""
        head = render.shorten(render.printable(head), self._width)
        yield (" " * (self._width - render.columns(head)) if right else "") + click.style(
            head, dim=True
        )
        colour = colour or ("green" if right else "cyan")
        yield indent + click.style(f"╭{'─' * (inner + 2)}╮", fg=colour)
        for line in lines:
            side = click.style("│", fg=colour)
            yield f"{indent}{side} {render.pad(line, inner)} {side}"
        yield indent + click.style(f"╰{'─' * (inner + 2)}╯", fg=colour)
