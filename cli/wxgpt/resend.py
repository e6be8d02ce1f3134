"""Send the messages of a log once more, to a local endpoint, and compare the replies' times."""

from __future__ import annotations

import ipaddress
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from wxgpt import options, records, render
from wxgpt.failures import Unreachable, UsageFailure

if TYPE_CHECKING:
    from wxgpt.peer import Delivery, Peer
    from wxgpt.records import Point
    from wxgptd.config import Config
    from wxgptd.domain.record import Recorded
    from wxgptd.domain.values import User


@dataclass(frozen=True, slots=True)
class Message:
    """What a user sent; `logged_s` is how long the first reply to it took then."""

    at: float
    user: str
    fields: dict[str, str]
    logged_s: float | None

    @property
    def label(self) -> str:
        """What it is called in the summary."""
        return self.fields.get("Content") or self.fields.get("Event", "")


def send_again(
    to: str,
    until: Point,
    user: str | None,
    account: str | None,
    speed: float,
    allow_remote: bool,
    output: str,
) -> None:
    """Send the logged messages to `to`, `speed` times as fast as they came; print a summary.

    Raises:
        UsageFailure: `to` is not on this machine, or there is nothing to send.
        Unreachable: nobody listens there.
        UnansweredMessage: a message had no reply.
    """
    from wxgpt import peer
    from wxgpt.commands import send
    from wxgpt.reactor import run

    host = send.host_of(to)
    if not allow_remote:
        _refuse_remote(host)
    config = options.load_config()
    name, _ = options.pick_account(config, account)
    logged = Logged(config)
    for record in records.read(options.open_log(), until):
        if record.user.account == name and user in (None, record.user.openid):
            logged.observe(record)
    messages = logged.messages()
    if not messages:
        raise UsageFailure("there are no messages in the log to send again")
    if logged.declined:
        click.echo(
            f"{logged.declined} declined messages are left out: the log keeps no text", err=True
        )
    hook = send.webhook(config, name, to, None)
    click.echo(
        f"sending {len(messages)} messages to {to}, under the users' own OpenIDs: whoever answers "
        "there calls its model, and has them in its log",
        err=True,
    )

    async def play(reactor: Any) -> list[tuple[Message, Delivery]]:  # noqa: ANN401
        wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)
        return await _play(reactor, wechat, messages, speed)

    done = run(play)
    _summarise(done, output)
    attempts = [attempt for _, delivery in done for attempt in delivery.attempts]
    if all(attempt.result is peer.Result.REFUSED for attempt in attempts):
        raise Unreachable(f"nobody listens at {to}", hint="start the daemon that is to be tried")
    faults = sum(delivery.fault for _, delivery in done)
    if faults:
        raise send.UnansweredMessage(f"{faults} of {len(done)} messages had no reply")


def _refuse_remote(host: str) -> None:
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise UsageFailure(
            f"{host} is not this machine",
            hint="what users wrote would be sent there; --allow-remote if that is meant",
        )


class Logged:
    """What users sent, from the events that it led to."""

    def __init__(self, config: Config) -> None:
        from wxgptd.config import chat_command

        self.declined = 0
        self._commands = {name: chat_command(name, one) for name, one in config.assistant.items()}
        self._fallback = next(iter(self._commands.values()))
        self._sent: dict[tuple[User, str], tuple[float, dict[str, str]]] = {}
        self._replied: dict[tuple[User, str], float] = {}
        self._opened: dict[User, str] = {}

    def observe(self, record: Recorded) -> None:
        """Take note of an event. A session's opening stands before what opened it."""
        from wxgpt.messages import event_message, image_message
        from wxgptd.domain import events as e

        who, event = record.user, record.event
        match event:
            case e.SessionOpened(assistant=assistant):
                self._opened[who] = self._commands.get(assistant, self._fallback)
            case e.CommandGiven(command=command):
                opening = self._opened.pop(who, self._fallback)
                typed = opening if command == "open" else f"/{command.partition(' ')[0]}"
                self._say(who, event.delivery, event.at, typed)
            case e.QuestionAsked(image=image) if image:
                self._sent[who, event.delivery] = event.at, image_message(image)
            case e.QuestionAsked(text=text):
                self._say(
                    who, event.delivery, event.at, f"{self._opened.pop(who, '')} {text}".strip()
                )
            case e.ContinuationAsked():
                self._say(who, event.delivery, event.at, "继续")
            case e.UserSubscribed(scene=scene):
                key = f"qrscene_{scene}" if scene else ""
                self._sent[who, event.delivery] = event.at, event_message("subscribe", key)
            case e.UserUnsubscribed():
                self._sent[who, event.delivery] = event.at, event_message("unsubscribe")
            case e.MessageDeclined():
                self.declined += 1
            case e.ReplyOffered(notice="session_already_open"):
                command = self._commands.get(event.about, self._fallback)
                self._say(who, event.delivery, self._sent[who, event.delivery][0], command)
                self._replied.setdefault((who, event.delivery), event.at)
            case e.ReplyOffered():
                self._replied.setdefault((who, event.delivery), event.at)
            case _:
                pass

    def _say(self, who: User, delivery: str, at: float, text: str) -> None:
        from wxgpt.messages import text_message

        self._sent[who, delivery] = at, text_message(text)

    def messages(self) -> list[Message]:
        """Return the messages, in order."""
        return [
            Message(
                at, key[0].openid, fields, self._replied[key] - at if key in self._replied else None
            )
            for key, (at, fields) in self._sent.items()
        ]


async def _play(
    reactor: Any,  # noqa: ANN401
    wechat: Peer,
    messages: list[Message],
    speed: float,
) -> list[tuple[Message, Delivery]]:
    from rich.console import Console
    from rich.progress import Progress
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.internet.task import deferLater

    done: list[tuple[Message, Delivery]] = []
    began, first = reactor.seconds(), messages[0].at
    bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
    task = bar.add_task("sending", total=len(messages))

    async def one(message: Message) -> None:
        due = began + (message.at - first) / speed
        await deferLater(reactor, max(0.0, due - reactor.seconds()))
        delivery = await wechat.deliver(message.user, message.fields)
        done.append((message, delivery))
        bar.advance(task)

    with bar:
        await gatherResults(
            [Deferred.fromCoroutine(one(message)) for message in messages], consumeErrors=True
        )
    return sorted(done, key=lambda pair: pair[0].at)


def _summarise(done: list[tuple[Message, Delivery]], output: str) -> None:
    rows = [
        {
            "user": message.user,
            "text": message.label,
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
        text = render.shorten(render.printable(message.label), 60)
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
