"""`wxgpt replay`: show past state or dialogues, or resend logged messages."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from wxgpt import completing, options, render
from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgptd.untyped import Json
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgpt.log.records import Point
    from wxgptd.domain.model.state import UserState
    from wxgptd.domain.model.values import User


@click.command("replay")
@click.option("--until", metavar="SEQ|TIME", help="Up to and including this event, or this time.")
@click.option("--user", metavar="OPENID", help="Only this user.", shell_complete=completing.user)
@click.option("--as-conversation", is_flag=True, help="Print the sessions as dialogues.")
@click.option("--to", metavar="URL", help="Resend the logged messages to this endpoint.")
@click.option("--speed", default="1x", show_default=True, metavar="Nx", help="With --to: speed.")
@click.option(
    "--account",
    metavar="NAME",
    help="With --to: the account whose messages and secrets to use.",
    shell_complete=completing.account,
)
@click.option("--commands", is_flag=True, help="With --to: also send chat commands and follows.")
@click.option("-y", "--yes", is_flag=True, help="With --to: do not ask for confirmation.")
@click.option("--allow-remote", is_flag=True, help="With --to: allow a target on another machine.")
@options.output_option("text", "json")
def command(
    until: str | None,
    user: str | None,
    as_conversation: bool,
    to: str | None,
    speed: str,
    account: str | None,
    commands: bool,
    yes: bool,
    allow_remote: bool,
    output: str,
) -> None:
    """Replay the log up to a given point, and show the state at that point.

    With --to it resends the logged questions to another daemon, never to the one that wrote the
    log. That other daemon needs its own port and state directory.

    \b
    Examples:
      wxgpt replay
      wxgpt replay --until 1200
      wxgpt replay --until yesterday --as-conversation
      wxgpt replay --to http://127.0.0.1:9015/wx/main --speed 10x
    """
    point = _point(until)
    if to is not None:
        from wxgpt.wechat.resend import Plan, resend

        plan = Plan(
            to=to,
            until=point,
            user=user,
            account=account,
            speed=_speed(speed),
            allow_remote=allow_remote,
            commands=commands,
            yes=yes,
        )
        resend(plan, output)
        return
    from wxgpt.log import records

    log = options.open_log()
    options.print_log_start(log)
    states, seq, at = records.fold(log, point)
    chosen = {owner: state for owner, state in states.items() if user in (None, owner.openid)}
    if as_conversation:
        _conversations(chosen, output)
    else:
        _state(chosen, seq, at, output)


def _point(until: str | None) -> Point:
    if until is None:
        return None, None
    if until.isascii() and until.isdecimal():
        return int(until), None
    try:
        return None, options.parse_time(until, time.time())
    except ValueError:
        raise UsageFailure(
            say("{until!r} is neither an event number nor a time", until=until),
            hint=say("use {time_forms}", time_forms=say(options.TIME_FORMS)),
        ) from None


def _speed(given: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x?", given)
    if match is None or float(match.group(1)) <= 0:
        raise UsageFailure(
            say("{given!r} is not a speed", given=given), hint=say("use 1x, 10x or 0.5x")
        )
    return float(match.group(1))


def _conversations(states: dict[User, UserState], output: str) -> None:
    from wxgpt.log import dialogues

    sessions = [(owner, session) for owner, state in states.items() for session in state.sessions()]
    sessions.sort(key=lambda pair: pair[1].opened_at)
    if output == "json":
        click.echo(render.dumps([dialogues.as_json(*pair, turns=True) for pair in sessions]))
        return
    for owner, session in sessions:
        for line in dialogues.lines(owner, session):
            click.echo(line)
    if not sessions:
        click.echo(spoken("no sessions up to that point"), err=True)


def _state(states: dict[User, UserState], seq: int, at: float, output: str) -> None:
    prompts = options.system_prompts()
    shown = [_user_state(user, state, at, prompts) for user, state in states.items()]
    if output == "json":
        time_text = render.rfc3339(at) if seq else None
        click.echo(render.dumps({"seq": seq, "at": time_text, "users": shown}))
        return
    time_text = render.clock_time(at, utc=False) if seq else "never"
    click.echo(
        spoken(
            "after event {seq} ({time_text}): {shown}",
            seq=seq,
            time_text=time_text,
            shown=render.counted(len(shown), "user"),
        )
    )
    for row in shown:
        session = row["session"]
        render.row(
            spoken(
                "{account}/{user}  version {version}",
                account=row["account"],
                user=row["user"],
                version=row["version"],
            )
        )
        if session is None:
            render.row(spoken("  no session"))
        else:
            render.row(
                spoken(
                    "  session {id} with {assistant}",
                    id=session["id"],
                    assistant=session["assistant"],
                )
            )
            for message in session["context"]:
                text = render.shorten(render.printable(message["content"]), 66)
                render.row(f"    {message['role']:<9} {text}")
        for window in row["open_windows"]:
            render.row(
                spoken(
                    "  open window {delivery}, attempt {attempts}",
                    delivery=window["delivery"],
                    attempts=window["attempts"],
                )
            )
        for delivery in row["unanswered"]:
            render.row(spoken("  unanswered {delivery}", delivery=delivery))


def _user_state(user: User, state: UserState, at: float, prompts: Mapping[str, str]) -> Json:
    from wxgptd.domain.model.reply_window import Open
    from wxgptd.domain.model.values import DeliveryKey
    from wxgptd.domain.prompt import context

    live = state.live_at(at)
    session = None
    if live is not None:
        newest = next(reversed(state.unanswered), DeliveryKey(""))
        prompt = context.messages(live, newest, prompts.get(live.assistant, ""))
        session = {
            "id": live.id,
            "assistant": live.assistant,
            "opened_at": render.rfc3339(live.opened_at),
            "expires_at": render.rfc3339(live.expires_at),
            "context": [{"role": message.role, "content": message.content} for message in prompt],
        }
    return {
        "account": user.account,
        "user": user.openid,
        "version": state.version,
        "session": session,
        "past_sessions": len(state.past),
        "open_windows": [
            {"delivery": key, "attempts": window.attempts}
            for key, window in state.windows.items()
            if isinstance(window, Open) and window.question
        ],
        "unanswered": list(state.unanswered),
    }
