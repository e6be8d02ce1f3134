"""`wxgpt replay`: the state at any time, the dialogues, or the same messages once more."""

from __future__ import annotations

import ipaddress
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from wxgpt import options, render
from wxgpt.failures import UsageFailure

if TYPE_CHECKING:
    from wxgpt.peer import Delivery, Peer
    from wxgpt.records import Point
    from wxgptd.domain.state import UserState
    from wxgptd.domain.values import User


@click.command("replay")
@click.option("--until", metavar="SEQ|TIME", help="Up to and including this event, or this time.")
@click.option("--user", metavar="OPENID", help="Only this user.")
@click.option("--as-conversation", is_flag=True, help="Print the sessions as dialogues.")
@click.option("--to", metavar="URL", help="Send the logged messages to this endpoint again.")
@click.option("--speed", default="1x", show_default=True, metavar="Nx", help="With --to: how fast.")
@click.option("--account", metavar="NAME", help="With --to: which account's messages and secrets.")
@click.option("--allow-remote", is_flag=True, help="With --to: another machine may be meant.")
@options.output_option("text", "json")
def command(
    until: str | None,
    user: str | None,
    as_conversation: bool,
    to: str | None,
    speed: str,
    account: str | None,
    allow_remote: bool,
    output: str,
) -> None:
    """Fold the log up to some point, and show the state then.

    \b
    Examples:
      wxgpt replay
      wxgpt replay --until 1200
      wxgpt replay --until yesterday --as-conversation
      wxgpt replay --to http://127.0.0.1:9005/wx/main --speed 10x
    """
    point = _point(until)
    if to is not None:
        _send_again(to, point, user, account, _speed(speed), allow_remote, output)
        return
    from wxgpt import records

    states, seq, at = records.fold(options.log_directory(), point)
    chosen = {who: state for who, state in states.items() if user in (None, who.openid)}
    if as_conversation:
        _conversations(chosen, output)
    else:
        _state(chosen, seq, at, output)


def _point(until: str | None) -> Point:
    if until is None:
        return None, None
    if until.isdigit():
        return int(until), None
    try:
        return None, options.parse_time(until, time.time())
    except ValueError:
        raise UsageFailure(
            f"{until!r} is neither an event's number nor a time", hint=f"write {options.TIME_FORMS}"
        ) from None


def _speed(given: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x?", given)
    if match is None or float(match.group(1)) <= 0:
        raise UsageFailure(f"{given!r} is no speed", hint="write 1x, 10x or 0.5x")
    return float(match.group(1))


def _conversations(states: dict[User, UserState], output: str) -> None:
    from wxgpt.commands import sessions

    found = [(who, session) for who, state in states.items() for session in state.sessions()]
    found.sort(key=lambda pair: pair[1].opened_at)
    if output == "json":
        click.echo(render.dumps([sessions.as_json(*pair, turns=True) for pair in found]))
        return
    for who, session in found:
        sessions.show_dialogue(who, session)
    if not found:
        click.echo("no sessions up to then", err=True)


def _state(states: dict[User, UserState], seq: int, at: float, output: str) -> None:
    shown = [_user_state(who, state, at) for who, state in states.items()]
    if output == "json":
        then = render.rfc3339(at) if seq else None
        click.echo(render.dumps({"seq": seq, "at": then, "users": shown}))
        return
    then = render.clock_time(at, utc=False) if seq else "never"
    click.echo(f"after event {seq} ({then}): {len(shown)} users")
    for one in shown:
        session = one["session"]
        click.echo(f"{one['account']}/{one['user']}  version {one['version']}")
        if session is None:
            click.echo("  no session")
        else:
            click.echo(f"  session {session['id']} with {session['assistant']}")
            for message in session["context"]:
                text = render.shorten(render.printable(message["content"]), 80)
                click.echo(f"    {message['role']:<9} {text}")
        for window in one["open_windows"]:
            click.echo(f"  open window {window['delivery']}, attempt {window['attempts']}")
        for delivery in one["unanswered"]:
            click.echo(f"  unanswered {delivery}")


def _user_state(who: User, state: UserState, at: float) -> dict[str, Any]:
    from wxgptd.domain import context
    from wxgptd.domain.reply_window import Open
    from wxgptd.domain.values import DeliveryKey

    live = state.live if state.live is not None and at < state.live.expires_at else None
    session = None
    if live is not None:
        told = context.messages(live, DeliveryKey(""), "")
        session = {
            "id": live.id,
            "assistant": live.assistant,
            "opened_at": render.rfc3339(live.opened_at),
            "expires_at": render.rfc3339(live.expires_at),
            "context": [{"role": one.role, "content": one.content} for one in told],
        }
    return {
        "account": who.account,
        "user": who.openid,
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


# Sending the logged messages again.


@dataclass(frozen=True, slots=True)
class _Message:
    at: float
    user: str
    text: str
    logged_s: float | None


def _send_again(
    to: str,
    until: Point,
    user: str | None,
    account: str | None,
    speed: float,
    allow_remote: bool,
    output: str,
) -> None:
    from wxgpt import peer
    from wxgpt.commands import send
    from wxgpt.reactor import run

    if not allow_remote:
        _refuse_remote(to)
    config = options.load_config()
    name, _ = options.pick_account(config, account)
    messages = [one for one in _logged_messages(name, until, config) if user in (None, one.user)]
    if not messages:
        raise UsageFailure("there are no messages in the log to send again")
    hook = send.webhook(config, name, to, None)

    async def play(reactor: Any) -> list[tuple[_Message, Delivery]]:  # noqa: ANN401
        wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)
        return await _play(reactor, wechat, messages, speed)

    _summarise(run(play), output)


def _refuse_remote(url: str) -> None:
    host = urlsplit(url).hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise UsageFailure(
            f"{host or url} is not this machine",
            hint="what users wrote would be sent there; --allow-remote if that is meant",
        )


def _logged_messages(account: str, until: Point, config: Any) -> list[_Message]:  # noqa: ANN401
    """Return what users said, in order, with how long the first reply to it took."""
    from wxgpt import records
    from wxgptd.config import chat_command
    from wxgptd.domain import events as e

    commands: dict[str, str] = {
        name: chat_command(name, one) for name, one in config.assistant.items()
    }
    fallback = next(iter(commands.values()))
    found: dict[tuple[User, str], tuple[float, str]] = {}
    replied: dict[tuple[User, str], float] = {}
    given: dict[User, str] = {}
    opening: dict[User, str] = {}
    for record in records.read(options.log_directory(), until):
        who, event = record.user, record.event
        if who.account != account:
            continue
        match event:
            case e.CommandGiven():
                found[who, event.delivery] = event.at, f"/{event.command}"
                given[who] = event.delivery
            case e.SessionOpened():
                command = commands.get(event.assistant, fallback)
                delivery = given.pop(who, "")
                if not delivery:
                    opening[who] = f"{command} "  # the question comes in the same message
                elif found[who, delivery][1] == "/open":
                    found[who, delivery] = event.at, command
            case e.QuestionAsked():
                found[who, event.delivery] = event.at, opening.pop(who, "") + event.text
            case e.ContinuationAsked():
                found[who, event.delivery] = event.at, "继续"
            case e.ReplyOffered():
                given.pop(who, None)
                replied.setdefault((who, event.delivery), event.at)
                if found.get((who, event.delivery), (0, ""))[1] == "/open":
                    # The session was open already: any opening command says so again.
                    found[who, event.delivery] = event.at, commands.get(event.about, fallback)
            case _:
                pass
    return [
        _Message(at, who.openid, text, replied[who, key] - at if (who, key) in replied else None)
        for (who, key), (at, text) in found.items()
    ]


async def _play(
    reactor: Any,  # noqa: ANN401
    wechat: Peer,
    messages: list[_Message],
    speed: float,
) -> list[tuple[_Message, Delivery]]:
    from rich.console import Console
    from rich.progress import Progress
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.internet.task import deferLater

    from wxgpt.peer import text_message

    done: list[tuple[_Message, Delivery]] = []
    began, first = reactor.seconds(), messages[0].at
    bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
    task = bar.add_task("sending", total=len(messages))

    async def one(message: _Message) -> None:
        due = began + (message.at - first) / speed
        await deferLater(reactor, max(0.0, due - reactor.seconds()))
        delivery = await wechat.deliver(message.user, text_message(message.text))
        done.append((message, delivery))
        bar.advance(task)

    with bar:
        await gatherResults(
            [Deferred.fromCoroutine(one(message)) for message in messages], consumeErrors=True
        )
    return sorted(done, key=lambda pair: pair[0].at)


def _summarise(done: list[tuple[_Message, Delivery]], output: str) -> None:
    rows = [
        {
            "user": message.user,
            "text": message.text,
            "logged_s": None if message.logged_s is None else round(message.logged_s, 3),
            "now_s": round(delivery.took_s, 3),
            "attempts": len(delivery.attempts),
            "fault": delivery.fault,
        }
        for message, delivery in done
    ]
    faults = sum(bool(row["fault"]) for row in rows)
    if output == "json":
        click.echo(render.dumps({"messages": rows, "faults": faults}))
        return
    click.echo("  logged      now  attempts  message")
    for (message, delivery), row in zip(done, rows, strict=True):
        logged = "     –" if message.logged_s is None else f"{message.logged_s:6.1f}"
        text = render.shorten(render.printable(message.text), 60)
        mark = "  FAULT" if row["fault"] else ""
        click.echo(f"{logged} s {delivery.took_s:6.1f} s  {row['attempts']:>8}  {text}{mark}")
    both = [
        (message.logged_s, delivery.took_s)
        for message, delivery in done
        if message.logged_s is not None
    ]
    if both:
        mean_logged = sum(then for then, _ in both) / len(both)
        mean_now = sum(now for _, now in both) / len(both)
        click.echo(
            f"{len(rows)} messages, {faults} faults; mean {mean_now:.2f} s now, "
            f"{mean_logged:.2f} s logged"
        )
