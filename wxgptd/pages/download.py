"""A user's history as a Markdown file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wxgptd.domain.replies.texts import Texts
from wxgptd.pages.document import closed
from wxgptd.pages.times import local
from wxgptd.ports.pages import Dialogue, Progress, Turn


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
            quoted = "\n".join(f"> {line}".rstrip() for line in turn.question.splitlines())
            yield f"**{texts.page_question}** · {local(turn.asked_at)}"
            yield quoted or ">"
            yield f"**{texts.page_title}**"
            yield from filter(None, (closed(turn.answer).strip(), note(turn, texts)))
            yield "---"
    yield texts.page_ai_notice or texts.ai_label


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
