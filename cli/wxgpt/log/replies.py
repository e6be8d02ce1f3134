"""What users read: the text of a reply, filled in as the daemon fills it in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wxgpt import options
from wxgpt.language import spoken
from wxgptd.domain.model.events import ReplyOffered
from wxgptd.domain.model.values import AccountName, Reply, ReplyKind
from wxgptd.domain.replies import wording
from wxgptd.domain.replies.texts import Texts, without_taps
from wxgptd.errors import WxgptError

if TYPE_CHECKING:
    from wxgptd.config import Config

LINK = "…"
"""In place of a link, which the log does not have."""


class Replies:
    """Knows the operator's texts; without a configuration, the default ones."""

    def __init__(self, config: Config | None) -> None:
        self._config = config
        self._texts = without_taps(config.texts if config is not None else Texts())

    def text_of(self, reply: ReplyOffered, account: AccountName) -> str:
        """Return the text that a user reads.

        Of an answer or a failure it says only which part was sent: both are events of their own.
        """
        if reply.kind is ReplyKind.FAILURE:
            return spoken("that it failed")
        if reply.kind is ReplyKind.ANSWER:
            if reply.start == 0 and not reply.rest:
                return spoken("the whole answer")
            return spoken(
                "the answer, characters {start} to {end}", start=reply.start, end=reply.end
            )
        settled = Reply(
            kind=reply.kind,
            notice=reply.notice,
            about=reply.about,
            start=reply.start,
            end=reply.end,
            text=reply.text,
            style=reply.style,
            rest=bool(reply.rest),
        )
        text = wording.render(settled, None, LINK, self._texts, self._context(account))
        return text or spoken("(nothing: the account has no such text)")

    def _context(self, name: AccountName) -> wording.ReplyContext:
        from wxgptd.config import chat_command

        config = self._config
        if config is None:
            return wording.ReplyContext(commands={}, titles={}, ttl_s=300.0, days=7, taps=False)
        account = config.account.get(name)
        context = wording.ReplyContext(
            commands={key: chat_command(key, each) for key, each in config.assistant.items()},
            titles={key: each.title for key, each in config.assistant.items()},
            ttl_s=config.session.ttl,
            days=round(config.links.ttl / 86_400) or 1,
            without_command=account is not None and account.open_without_command,
            welcome=account.welcome if account is not None else "",
            several_models=any(len(each.choice) > 1 for each in config.assistant.values()),
        )
        return context.without_taps()


def read() -> Replies:
    """Return the texts of the operator's configuration, or the default ones if there is none."""
    try:
        return Replies(options.load_config())
    except WxgptError:
        return Replies(None)
