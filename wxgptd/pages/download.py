"""A user's history, or some answers, as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wxgptd.domain.replies.texts import Texts
from wxgptd.pages.document import closed
from wxgptd.pages.times import local
from wxgptd.ports.pages import AnswerView, Dialogue, Progress, Turn


def as_markdown(dialogues: Sequence[Dialogue], texts: Texts, aigc: str) -> Iterator[str]:
    """Yield the paragraphs of the complete history, oldest first.

    Questions become block quotes; answers stay as they were written. `aigc` is the file's metadata
    as JSON, which is also YAML.
    """
    yield f"---\nAIGC: {aigc}\n---"
    yield f"# {texts.history_title}"
    if not any(dialogue.turns for dialogue in dialogues):
        yield texts.history_empty
    for dialogue in dialogues:
        yield f"## {local(dialogue.opened_at)} · {dialogue.assistant} · {dialogue.ended}"
        for turn in dialogue.turns:
            yield f"**{texts.page_question}** · {local(turn.asked_at)}"
            yield _quoted(turn.question)
            yield f"**{texts.page_title}**"
            yield from filter(None, (closed(turn.answer).strip(), note(turn, texts)))
            yield "---"
    yield texts.page_ai_notice or texts.ai_label


def answers_as_markdown(views: Sequence[AnswerView], texts: Texts) -> str:
    """Return answers as they were written; with their questions, if there are several."""
    parts: list[str] = []
    for view in views:
        if len(views) > 1:
            parts.append(_quoted(view.question))
        parts.append(closed(view.text).strip())
    return "\n\n".join([*filter(None, parts), *filter(None, [texts.ai_label])]) + "\n"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines()) or ">"


def note(turn: Turn, texts: Texts) -> str:
    """Return a note that explains why an answer is incomplete, or ""."""
    match turn.progress:
        case Progress.DONE | Progress.CUT_SHORT:
            return ""
        case Progress.FAILED:
            return turn.failure or texts.history_unanswered
        case Progress.INTERRUPTED:
            return texts.page_interrupted
        case _:
            return texts.history_running
