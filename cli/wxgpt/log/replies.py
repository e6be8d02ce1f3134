"""What users read: the text of a reply that the log has only the catalogue's name of."""

from __future__ import annotations

from string import Formatter

from wxgpt import options
from wxgpt.language import shown, spoken
from wxgptd.domain.model.events import ReplyOffered
from wxgptd.domain.model.values import ReplyKind
from wxgptd.domain.replies import taps
from wxgptd.domain.replies.texts import Texts
from wxgptd.errors import WxgptError


def catalogue() -> Texts:
    """Return the operator's catalogue of texts; the default one if there is no configuration."""
    try:
        return options.load_config().texts
    except WxgptError:
        return Texts()


def text_of(reply: ReplyOffered, texts: Texts) -> str:
    """Return the text that a user reads; a value that depends on the moment is `…`.

    For a whole answer it says only which part of it that was: the answer is an event of its own.
    """
    if reply.notice:
        template = getattr(texts, reply.notice, "")
        return _filled(template) or shown(reply.notice.replace("_", " "))
    if reply.text:
        return reply.text
    match reply.kind:
        case ReplyKind.LINK:
            name = "waiting_in_line" if reply.about.startswith("in_line") else "waiting"
            return _filled(getattr(texts, name))
        case ReplyKind.ANSWER if reply.start or reply.rest:
            return spoken(
                "the answer, characters {start} to {end}", start=reply.start, end=reply.end
            )
        case ReplyKind.ANSWER:
            return spoken("the whole answer")
    return shown(str(reply.kind).replace("_", " "))


def _filled(template: str) -> str:
    pieces = Formatter().parse(taps.without_taps(template))
    return "".join(f"{literal}{'' if field is None else '…'}" for literal, field, *_ in pieces)
