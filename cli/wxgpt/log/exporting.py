"""Write a session as a document: Markdown, or a page of HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from wxgpt import render
from wxgpt.language import current, shown, spoken
from wxgpt.log import rendering

if TYPE_CHECKING:
    from wxgptd.domain.model.session import Question, Session
    from wxgptd.domain.model.values import User

STYLE = """
body { font: 16px/1.7 system-ui, "PingFang SC", "Noto Sans CJK SC", sans-serif; max-width: 42rem;
  margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h1 { font-size: 1.3rem } .about, .when { color: #666; font-size: .85rem }
.question { background: #e8f5e9; border-radius: .6rem; padding: .4rem .9rem; white-space: pre-wrap }
.answer { margin: 0 0 2rem } pre { overflow-x: auto; background: #f5f5f5; padding: .7rem }
table { border-collapse: collapse } th, td { border: 1px solid #ccc; padding: .2rem .6rem }
.failed { color: #b00020 }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 } .question { background: #24352a }
  pre { background: #252525 } th, td { border-color: #444 } .failed { color: #ff8a80 }
}
"""


def as_markdown(user: User, session: Session) -> Iterator[str]:
    """Yield the parts of a session as Markdown; questions are quoted."""
    yield f"# {_title(session)}"
    yield _about(user, session)
    for question in session.questions.values():
        at = render.date_time(question.asked_at)
        quoted = "\n".join(f"> {line}" for line in _asked(question).split("\n"))
        yield f"**{at}**\n\n{quoted}"
        yield _answer(question)


def as_html(user: User, session: Session) -> Iterator[str]:
    """Yield the parts of a session as a page of HTML; what a model wrote is cleaned."""
    from wxgptd.domain.model.session import Failed
    from wxgptd.pages import html

    yield (
        f'<!doctype html>\n<html lang="{current()}">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(_title(session))}</title>\n<style>{STYLE}</style>\n"
        f"<h1>{escape(_title(session))}</h1>\n<p class=about>{escape(_about(user, session))}</p>"
    )
    for question in session.questions.values():
        at = render.date_time(question.asked_at)
        answer = html.render(_answer(question), {})
        kind = "answer failed" if isinstance(question.answer, Failed) else "answer"
        yield (
            f"<p class=when>{at}</p>\n<div class=question>{escape(_asked(question))}</div>\n"
            f'<div class="{kind}">\n{answer}\n</div>'
        )


def _title(session: Session) -> str:
    first = next(iter(session.questions.values()), None)
    return render.printable(session.title) or (
        render.printable(first.text.split("\n")[0])[:60] if first else str(session.id)
    )


def _about(user: User, session: Session) -> str:
    ended = f" · {shown(rendering.words(session.closed))}" if session.closed else ""
    return f"{user.account}/{user.openid} · {session.assistant} · {session.id}{ended}"


def _asked(question: Question) -> str:
    return (spoken("[picture] ") if question.image else "") + render.multiline(question.text)


def _answer(question: Question) -> str:
    from wxgptd.domain.model.session import Failed

    answer = question.answer
    text = render.multiline(answer.text)
    if isinstance(answer, Failed):
        failed = spoken("failed: {reason}", reason=shown(rendering.words(answer.reason)))
        return f"{text}\n\n*{failed}*".strip()
    return text or f"*{spoken('no answer yet')}*"
