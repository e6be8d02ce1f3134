"""Questions and answers as the templates show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from wxgptd.domain.replies import wording
from wxgptd.domain.replies.texts import Texts
from wxgptd.domain.text.first_line import first_line
from wxgptd.pages import times
from wxgptd.pages.rendition import Rendition

MAX_TITLE_CHARS = 40
"""A page's title is the beginning of its question."""


class Turn(NamedTuple):
    """A question and its answer, as the template needs them.

    `token` and `form` are those of the answer's own page, if readers may know them. `remark` says
    that the question is in another session than the one before it.
    """

    question: str
    about: str
    blocks: Sequence[Markup]
    position: str
    progress: str
    status: str
    hint: str
    thoughts: str
    waited: int
    elapsed: str
    final: bool
    token: str = ""
    form: str = ""
    rating: str = ""
    remark: str = ""


def turn_of(rendition: Rendition, waited_s: int, texts: Texts) -> Turn:
    """Return an answer as it is rendered, asked `waited_s` seconds ago."""
    view = rendition.view
    return Turn(
        question=view.question,
        about=f"{view.author} · {times.local(view.asked_at)}",
        blocks=[Markup(block) for block in rendition.blocks],  # noqa: S704 (sanitised by nh3)
        position=rendition.position,
        progress=view.progress.value,
        status=rendition.said.status,
        hint=rendition.said.hint,
        thoughts=view.thoughts,
        waited=waited_s,
        elapsed=wording.elapsed(str(waited_s), texts),
        final=view.progress.final,
    )


def title_of(question: str, texts: Texts) -> str:
    """Return the title of a page that begins with `question`."""
    return first_line(question, MAX_TITLE_CHARS) or texts.page_title
