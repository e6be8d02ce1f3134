"""`wxgpt sessions`: list, show and stop sessions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from wxgpt import completing, control, matching, options, render
from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken, spoken_number
from wxgpt.log import dialogues, rendering
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgptd.domain.model.session import Session
    from wxgptd.domain.model.values import User


SNIPPET_CHARS = 36
"""Few enough for 80 columns if all of them are Chinese."""


@click.group("sessions")
def command() -> None:
    """List, show and stop sessions.

    \b
    Examples:
      wxgpt sessions list
      wxgpt sessions list --all --user oXXXX
      wxgpt sessions show 1f2e3d4c5b
      wxgpt sessions show 1f2e -o html > session.html
      wxgpt sessions search 发票 退款
      wxgpt sessions unanswered
      wxgpt sessions stop 1f2e
    """


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="Include closed sessions.")
@click.option("--user", metavar="OPENID", help="Only this user.", shell_complete=completing.user)
@click.option(
    "--feedback",
    type=click.Choice(["up", "down"]),
    help="Only sessions, open or closed, with an answer that was rated so.",
)
@options.output_option("text", "json", "ndjson")
def list_(everything: bool, user: str | None, feedback: str | None, output: str) -> None:
    """List the open sessions, from the log.

    \b
    Examples:
      wxgpt sessions list
      wxgpt sessions list --all -o ndjson
      wxgpt sessions list --feedback down
    """
    everything = everything or feedback is not None
    rows = [
        (owner, session)
        for owner, session in dialogues.sessions_of(user)
        if (everything or session.closed is None)
        and (feedback is None or dialogues.has_rating(session, feedback))
    ]
    rows.sort(key=lambda pair: pair[1].opened_at)
    if output == "json":
        click.echo(render.dumps([dialogues.as_json(*pair) for pair in rows]))
    elif output == "ndjson":
        for pair in rows:
            click.echo(render.dumps(dialogues.as_json(*pair)))
    else:
        names = control.names()
        for owner, session in rows:
            render.row(_line(owner, session, names))
        if not rows:
            click.echo(
                spoken("no sessions") if everything else spoken("no open sessions"), err=True
            )


@command.command("show")
@click.argument("session_id", metavar="[ID]", default="", shell_complete=completing.session)
@options.output_option("text", "json", "md", "html")
def show_(session_id: str, output: str) -> None:
    """Show one session as a dialogue; the newest one if there is no ID.

    ID can be the beginning of a session's identifier, or a user, whose newest session is shown.

    \b
    Examples:
      wxgpt sessions show
      wxgpt sessions show 张三
      wxgpt sessions show 1f2e3d4c5b
      wxgpt sessions show 1f2e --json
      wxgpt sessions show 1f2e -o md > session.md
      wxgpt sessions show 1f2e -o html > session.html
    """
    from wxgpt.log import exporting

    owner, session = dialogues.session_of(session_id)
    match output:
        case "json":
            click.echo(render.dumps(dialogues.as_json(owner, session, turns=True)))
        case "md":
            click.echo("\n\n".join(exporting.as_markdown(owner, session)))
        case "html":
            click.echo("\n".join(exporting.as_html(owner, session)))
        case _:
            name = control.names().get(f"{owner.account}/{owner.openid}", "")
            render.page(dialogues.lines(owner, session, name))


@command.command("search")
@click.argument("words", nargs=-1, required=True)
@click.option("--user", metavar="OPENID", help="Only this user.", shell_complete=completing.user)
@options.output_option("text", "ndjson")
def search(words: tuple[str, ...], user: str | None, output: str) -> None:
    """Search what was asked and answered in all sessions; every one of WORDS must occur.

    \b
    Examples:
      wxgpt sessions search 发票
      wxgpt sessions search 发票 退款 --user oXXXX
      wxgpt sessions search refund -o ndjson
    """
    words = tuple(filter(None, map(str.strip, words)))
    if not words:
        raise UsageFailure(say("a word to search for is missing"))
    found = [
        (owner, session, question)
        for owner, session in dialogues.sessions_of(user)
        for question in session.questions.values()
        if _has_all(words, f"{question.text}\n{question.answer.text}")
    ]
    found.sort(key=lambda each: each[2].asked_at)
    if output == "ndjson":
        for owner, session, question in found:
            click.echo(render.dumps(dialogues.turn_as_json(owner, session, question)))
        return
    names = control.names()
    for owner, session, question in found:
        at = rendering.when(question.asked_at, utc=False)
        who = render.pad(rendering.who(owner, names), 10)
        click.echo(f"{at:<11}  {who}  {session.id}")
        for text in (question.text, question.answer.text):
            if _has_any(words, text):
                click.echo(f"    {_around(words, text)}")
    if not found:
        click.echo(spoken("nothing found"), err=True)


def _has_all(words: Iterable[str], text: str) -> bool:
    return all(word.casefold() in text.casefold() for word in words)


def _has_any(words: Iterable[str], text: str) -> bool:
    return any(word.casefold() in text.casefold() for word in words)


def _around(words: Iterable[str], text: str) -> str:
    """Return the part of `text` around the first word, on one line, with all words in bold."""
    text = " ".join(render.printable(text).split())
    any_word = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)
    match = any_word.search(text)
    at = match.start() - SNIPPET_CHARS // 3 if match else 0
    begin = max(0, min(at, len(text) - SNIPPET_CHARS))
    part = text[begin : begin + SNIPPET_CHARS]
    part = any_word.sub(lambda found: click.style(found.group(), bold=True), part)
    return ("…" if begin else "") + part + ("…" if begin + SNIPPET_CHARS < len(text) else "")


@command.command("unanswered")
@options.output_option("text", "ndjson")
def unanswered(output: str) -> None:
    """List the questions that have no answer: it failed, or is still being written.

    \b
    Examples:
      wxgpt sessions unanswered
      wxgpt sessions unanswered -o ndjson
    """
    from wxgptd.domain.model.session import Completed, Failed

    found = [
        (owner, session, question)
        for owner, session in dialogues.all_sessions()
        for question in session.questions.values()
        if not isinstance(question.answer, Completed)
    ]
    found.sort(key=lambda each: each[2].asked_at)
    names = control.names() if output == "text" else {}
    for owner, session, question in found:
        if output == "ndjson":
            click.echo(render.dumps(dialogues.turn_as_json(owner, session, question)))
            continue
        at = rendering.when(question.asked_at, utc=False)
        who = render.pad(rendering.who(owner, names), 10)
        why = (
            shown(rendering.words(question.answer.reason))
            if isinstance(question.answer, Failed)
            else spoken("being written")
        )
        picture = spoken("[picture] ") if question.image else ""
        text = picture + " ".join(render.printable(question.text).split())
        render.row(f"{at:<11}  {who}  {session.id}  {render.pad(why, 12)}  {text}")
    if not found and output == "text":
        click.echo(spoken("every question has an answer"), err=True)


@command.command("stop")
@click.argument("session_id", metavar="ID", shell_complete=completing.session)
def stop(session_id: str) -> None:
    """End an open session; its user can open another one.

    \b
    Examples:
      wxgpt sessions stop 1f2e3d4c5b
    """
    status, rows = control.request("GET", "/sessions")
    control.require_ready(status)
    session_id = matching.only(session_id, (row["session"] for row in rows)) or session_id
    status, _ = control.request("POST", f"/sessions/{quote(session_id, safe='')}/stop")
    control.require_ready(status)
    if status != 200:
        raise dialogues.UnknownSession(
            say("no open session {session_id}", session_id=session_id),
            hint=say("`wxgpt sessions list` lists them"),
        )
    click.echo(spoken("session {session_id} ended", session_id=session_id))


def _line(user: User, session: Session, names: Mapping[str, str]) -> str:
    opened = render.clock_time(session.opened_at, utc=False)
    name = f"{user.account}/{rendering.who(user, names)}"
    state = shown(rendering.words(session.closed)) if session.closed else spoken("open")
    questions = spoken_number(len(session.questions), "{n:>4} question ", "{n:>4} questions")
    return (
        f"{session.id}  {opened[:11]}  {render.pad(name, 24)}  {render.pad(session.assistant, 10)}"
        f"{questions}  {state}"
    )
