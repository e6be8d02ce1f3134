"""`wxgpt sessions`: list, show and stop sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from wxgpt import completing, options, render
from wxgpt.failures import Unreachable, UsageFailure
from wxgpt.language import shown, spoken, spoken_number
from wxgpt.log import dialogues
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgptd.domain.model.session import Session
    from wxgptd.domain.model.values import User


@click.group("sessions")
def command() -> None:
    """List, show and stop sessions.

    \b
    Examples:
      wxgpt sessions list
      wxgpt sessions list --all --user oXXXX
      wxgpt sessions show 1f2e3d4c5b
      wxgpt sessions stop 1f2e3d4c5b
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
        for owner, session in dialogues.all_sessions()
        if (everything or session.closed is None)
        and (user is None or owner.openid == user)
        and (feedback is None or dialogues.has_rating(session, feedback))
    ]
    rows.sort(key=lambda pair: pair[1].opened_at)
    if output == "json":
        click.echo(render.dumps([dialogues.as_json(*pair) for pair in rows]))
    elif output == "ndjson":
        for pair in rows:
            click.echo(render.dumps(dialogues.as_json(*pair)))
    else:
        for owner, session in rows:
            click.echo(_line(owner, session))
        if not rows:
            click.echo(
                spoken("no sessions") if everything else spoken("no open sessions"), err=True
            )


@command.command("show")
@click.argument("session_id", metavar="ID", shell_complete=completing.session)
@options.output_option("text", "json")
def show_(session_id: str, output: str) -> None:
    """Show one session as a dialogue.

    \b
    Examples:
      wxgpt sessions show 1f2e3d4c5b
      wxgpt sessions show 1f2e3d4c5b --json
    """
    for owner, session in dialogues.all_sessions():
        if session.id == session_id:
            if output == "json":
                click.echo(render.dumps(dialogues.as_json(owner, session, turns=True)))
            else:
                dialogues.show_dialogue(owner, session)
            return
    raise UsageFailure(
        say("no session {session_id} in the log", session_id=session_id),
        hint=say("`wxgpt sessions list --all` lists them"),
    )


@command.command("stop")
@click.argument("session_id", metavar="ID", shell_complete=completing.session)
def stop(session_id: str) -> None:
    """End an open session; its user can open another one.

    \b
    Examples:
      wxgpt sessions stop 1f2e3d4c5b
    """
    from wxgpt import control

    status, _ = control.request("POST", f"/sessions/{quote(session_id, safe='')}/stop")
    if status == 503:
        raise Unreachable(
            say("the daemon is still starting"), hint=say("try again in a few seconds")
        )
    if status != 200:
        raise UsageFailure(
            say("no open session {session_id}", session_id=session_id),
            hint=say("`wxgpt sessions list` lists them"),
        )
    click.echo(spoken("session {session_id} ended", session_id=session_id))


def _line(user: User, session: Session) -> str:
    opened = render.clock_time(session.opened_at, utc=False)
    name = f"{user.account}/{user.openid}"
    state = shown(str(session.closed or "open"))
    questions = spoken_number(len(session.questions), "{n:>4} question ", "{n:>4} questions")
    return (
        f"{session.id}  {opened}  {render.pad(name, 36)}  {render.pad(session.assistant, 12)}"
        f"  {questions}  {state}"
    )
