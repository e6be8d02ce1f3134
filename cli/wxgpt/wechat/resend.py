"""Resend a log's messages to a local endpoint, and compare how long the replies take."""

from __future__ import annotations

import select
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from wxgpt import options, render
from wxgpt.failures import Unreachable, UsageFailure
from wxgpt.language import spoken
from wxgpt.log import records
from wxgptd.untyped import Reactor
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgpt.log.records import Point
    from wxgpt.wechat.peer import Delivery, Peer
    from wxgptd.config import Config
    from wxgptd.domain.model.values import User
    from wxgptd.ports.record import Recorded


WATCH_EVERY_S = 0.5
"""How often to check that the output is still being read."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a user sent; `logged_s` is how long its first reply originally took."""

    at: float
    user: str
    fields: dict[str, str]
    logged_s: float | None

    @property
    def label(self) -> str:
        """The text shown for it in the output."""
        return self.fields.get("Content") or self.fields.get("Event", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to resend, where to, and how fast.

    `commands` includes chat commands, follows and unfollows; `yes` skips the confirmation.
    """

    to: str
    until: Point
    user: str | None
    account: str | None
    speed: float
    allow_remote: bool
    commands: bool
    yes: bool


def resend(plan: Plan, output: str) -> None:
    """Resend the logged messages as `plan` specifies, and print the outcome of each.

    Raises:
        UsageFailure: the target is remote, or is this log's daemon, or there is nothing to send.
        Unreachable: nothing is listening there.
        UnansweredMessage: a message got no reply.
    """
    from wxgpt.reactor import run
    from wxgpt.wechat import deliveries, peer, webhooks

    host = webhooks.host_of(plan.to)
    if not plan.allow_remote:
        webhooks.require_local(host)
    config = options.load_config()
    name, _ = options.pick_account(config, plan.account)
    server = _require_other_daemon(plan.to, config)
    logged = Logged(config, commands=plan.commands)
    for record in records.read(options.open_log(), plan.until):
        if record.user.account == name and plan.user in (None, record.user.openid):
            logged.observe(record)
    messages = logged.messages()
    if not messages:
        hint = say("use --commands to include commands") if logged.stripped else ""
        raise UsageFailure(say("no questions in the log to resend"), hint=hint)
    hook = webhooks.webhook(config, name, plan.to, None)
    _confirm(plan, logged, messages, server)
    show = _Rows(output)

    async def play(reactor: Reactor) -> list[tuple[Message, Delivery]]:
        wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)
        return await _play(reactor, wechat, messages, plan.speed, show)

    done = run(play)
    show.summary(done)
    attempts = [attempt for _, delivery in done for attempt in delivery.attempts]
    if all(attempt.result is peer.Result.REFUSED for attempt in attempts):
        raise Unreachable(
            say("nothing is listening at {to}", to=plan.to), hint=say("start the target daemon")
        )
    faults = sum(delivery.fault for _, delivery in done)
    if faults:
        total = render.counted(len(done), "message")
        raise deliveries.UnansweredMessage(
            say("{faults} of {total} got no reply", faults=faults, total=total)
        )


def _require_other_daemon(to: str, config: Config) -> str:
    """Return a description of the server at `to`.

    Raises:
        UsageFailure: it is the daemon that wrote this log.
    """
    from wxgpt.wechat import instance

    theirs = instance.asked(to)
    ours = instance.own(config.server.state_dir)
    if theirs is not None and theirs == ours:
        raise UsageFailure(
            say(
                "{to} is the daemon that wrote this log: it would answer every question again",
                to=to,
            ),
            hint=say("start another daemon with its own state directory, and use its address"),
        )
    if theirs is None and _same_port(to, config.server.listen):
        raise UsageFailure(
            say("{to} is the address of the daemon that wrote this log ([server] listen)", to=to),
            hint=say("start another daemon on another port, and use its address"),
        )
    return (
        say("wxgptd {theirs}", theirs=theirs)
        if theirs is not None
        else say("an unidentified server")
    )


def _same_port(to: str, listen: str) -> bool:
    from wxgpt.wechat import webhooks

    try:
        own = urlsplit(webhooks.local_address(listen)).port
    except UsageFailure:
        return False
    return urlsplit(to).port == own


def _confirm(plan: Plan, logged: Logged, messages: list[Message], server: str) -> None:
    """Show what will be sent, and ask for confirmation.

    Raises:
        UsageFailure: there is neither a terminal nor --yes.
    """
    users = len({message.user for message in messages})
    message_count = render.counted(len(messages), "message")
    user_count = render.counted(users, "user")
    seconds = (messages[-1].at - messages[0].at) / plan.speed
    click.echo(
        spoken(
            "{message_count} from {user_count} will be sent to {to} ({server}) within "
            "{seconds:.0f} s, under the users' own OpenIDs.\nThe target calls its model "
            "for each question and logs everything.",
            message_count=message_count,
            user_count=user_count,
            to=plan.to,
            server=server,
            seconds=seconds,
        ),
        err=True,
    )
    if logged.stripped:
        click.echo(
            spoken(
                "{stripped} commands, follows and unfollows are left out (use --commands to "
                "include them)",
                stripped=logged.stripped,
            ),
            err=True,
        )
    if logged.declined:
        declined = render.counted(logged.declined, "declined message")
        click.echo(
            spoken("{declined} left out: the log has no text for them", declined=declined), err=True
        )
    if plan.yes:
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise UsageFailure(
            say("confirmation is required, because this calls a model"), hint=say("pass --yes (-y)")
        )
    if not click.confirm(spoken("Send them?"), err=True):
        click.echo(spoken("nothing was sent"), err=True)
        sys.exit(1)


TYPED = {"interrupt": "停止", "resume": "接着聊", "continue": "继续"}
"""What a user types for a command that has no slash."""


class Logged:
    """What users sent, reconstructed from the resulting events.

    Without `commands`, the command that opened a session is prefixed to its first question.
    """

    def __init__(self, config: Config, *, commands: bool) -> None:
        from wxgptd.config import chat_command

        self.declined = self.stripped = 0
        self._with_commands = commands
        self._commands = {
            name: chat_command(name, assistant) for name, assistant in config.assistant.items()
        }
        self._fallback = next(iter(self._commands.values()))
        self._sent: dict[tuple[User, str], tuple[float, dict[str, str]]] = {}
        self._replied: dict[tuple[User, str], float] = {}
        self._opened: dict[User, str] = {}

    def observe(self, record: Recorded) -> None:
        """Process an event. `SessionOpened` precedes the event of the message that caused it."""
        from wxgpt.wechat.messages import event_message, image_message
        from wxgptd.domain.model import events as e

        user, event = record.user, record.event
        match event:
            case e.SessionOpened(assistant=assistant):
                self._opened[user] = self._commands.get(assistant, self._fallback)
            case e.CommandGiven(command="clear unconfirmed"):
                self.stripped += 1  # if resent, it would be taken as the confirmation
            case (
                e.CommandGiven()
                | e.UserSubscribed()
                | e.UserUnsubscribed()
                | e.ReplyOffered(notice="session_already_open")
            ) if not self._with_commands:
                self.stripped += not isinstance(event, e.ReplyOffered)
            case e.CommandGiven(command=command):
                opening = self._opened.pop(user, self._fallback)
                typed = TYPED.get(command) or f"/{command.partition(' ')[0]}"
                self._say(user, event.delivery, event.at, opening if command == "open" else typed)
            case e.QuestionAsked(image=image) if image:
                self._sent[user, event.delivery] = event.at, image_message(image)
            case e.QuestionAsked(text=text):
                self._say(
                    user, event.delivery, event.at, f"{self._opened.pop(user, '')} {text}".strip()
                )
            case e.ContinuationAsked():
                self._say(user, event.delivery, event.at, "继续")
            case e.UserSubscribed(scene=scene):
                key = f"qrscene_{scene}" if scene else ""
                self._sent[user, event.delivery] = event.at, event_message("subscribe", key)
            case e.UserUnsubscribed():
                self._sent[user, event.delivery] = event.at, event_message("unsubscribe")
            case e.MessageDeclined() | e.MessageHeld():
                self.declined += 1
            case e.ModelChosen(model=model):
                if self._with_commands:
                    self._say(user, event.delivery, event.at, f"/model {model}")
                self.stripped += not self._with_commands
            case e.ReplyOffered(notice="session_already_open"):
                command = self._commands.get(event.about, self._fallback)
                self._say(user, event.delivery, self._sent[user, event.delivery][0], command)
                self._replied.setdefault((user, event.delivery), event.at)
            case e.ReplyOffered():
                self._replied.setdefault((user, event.delivery), event.at)
            case _:
                pass

    def _say(self, user: User, delivery: str, at: float, text: str) -> None:
        from wxgpt.wechat.messages import text_message

        self._sent[user, delivery] = at, text_message(text)

    def messages(self) -> list[Message]:
        """Return the messages, in order."""
        return [
            Message(
                at, key[0].openid, fields, self._replied[key] - at if key in self._replied else None
            )
            for key, (at, fields) in self._sent.items()
        ]


async def _play(
    reactor: Reactor,
    wechat: Peer,
    messages: list[Message],
    speed: float,
    show: _Rows,
) -> list[tuple[Message, Delivery]]:
    """Send each message when it is due; abort once the output is no longer read."""
    from twisted.internet.defer import Deferred, FirstError, gatherResults
    from twisted.internet.task import deferLater

    done: list[tuple[Message, Delivery]] = []
    began, first = reactor.seconds(), messages[0].at

    async def send(message: Message) -> None:
        due = began + (message.at - first) / speed
        await deferLater(reactor, max(0.0, due - reactor.seconds()))
        delivery = await wechat.deliver(message.user, message.fields)
        done.append((message, delivery))
        show.row(message, delivery)

    async def watch() -> None:
        while len(done) < len(messages):
            show.require_reader()
            await deferLater(reactor, WATCH_EVERY_S)

    work = [watch(), *map(send, messages)]
    try:
        await gatherResults(map(Deferred.fromCoroutine, work), consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
    return sorted(done, key=lambda pair: pair[0].at)


class _Rows:
    """Prints each message's outcome as soon as it is known; in JSON, all of them at the end."""

    def __init__(self, output: str) -> None:
        self._output = output
        if output == "text":
            click.echo(spoken("  logged      now  attempts  message"))

    def require_reader(self) -> None:
        """Ensure that standard output is still being read.

        Raises:
            BrokenPipeError: the reader has closed the pipe.
        """
        pipe = select.poll()
        pipe.register(sys.stdout.fileno(), 0)
        if any(event & select.POLLERR for _, event in pipe.poll(0)):
            raise BrokenPipeError

    def row(self, message: Message, delivery: Delivery) -> None:
        """Print a line."""
        if self._output != "text":
            return
        logged = "     –" if message.logged_s is None else f"{message.logged_s:6.1f}"
        text = render.shorten(render.printable(message.label), 60)
        mark = "  FAULT" if delivery.fault else ""
        attempts = len(delivery.attempts)
        click.echo(f"{logged} s {delivery.took_s:6.1f} s  {attempts:>8}  {text}{mark}")
        sys.stdout.flush()

    def summary(self, done: list[tuple[Message, Delivery]]) -> None:
        """Print the totals, or everything as JSON."""
        faults = sum(delivery.fault for _, delivery in done)
        if self._output == "json":
            rows = [_as_json(*pair) for pair in done]
            click.echo(render.dumps({"messages": rows, "faults": faults}))
            return
        timed = [
            (message.logged_s, delivery.took_s)
            for message, delivery in done
            if message.logged_s is not None
        ]
        if timed:
            mean_logged = sum(logged for logged, _ in timed) / len(timed)
            mean_now = sum(now for _, now in timed) / len(timed)
            click.echo(
                spoken(
                    "{done}, {faults}; mean {mean_now:.2f} s now, {mean_logged:.2f} s logged",
                    done=render.counted(len(done), "message"),
                    faults=render.counted(faults, "fault"),
                    mean_now=mean_now,
                    mean_logged=mean_logged,
                )
            )


def _as_json(message: Message, delivery: Delivery) -> dict[str, object]:
    return {
        "user": message.user,
        "text": message.label,
        "logged_s": None if message.logged_s is None else round(message.logged_s, 3),
        "now_s": round(delivery.took_s, 3),
        "attempts": len(delivery.attempts),
        "fault": delivery.fault,
    }
