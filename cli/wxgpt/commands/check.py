"""`wxgpt check`: check the configuration, and show what would handle a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wxgpt import completing, options, render
from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgptd.wording import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wxgptd.config import Config
    from wxgptd.domain.intake.routing import Route
    from wxgptd.domain.intake.rules import Rule
    from wxgptd.domain.model.state import UserState
    from wxgptd.domain.model.values import Content, Policy


@click.command("check")
@click.option("--effective", is_flag=True, help="Show each value and where it comes from.")
@click.option(
    "--backend", is_flag=True, help="Show what to enter in WeChat's backend, including secrets."
)
@options.output_option("text", "json")
@click.option("--message", metavar="TEXT", help="Show what would handle this message.")
@click.option("--event", metavar="NAME[:KEY]", help="Show what would handle this event.")
@click.option(
    "--kind", metavar="KIND", help="Show what would handle this kind of message, such as image."
)
@click.option(
    "--account",
    metavar="NAME",
    help="Account that receives it; required if there are several.",
    shell_complete=completing.account,
)
def command(
    message: str | None,
    event: str | None,
    kind: str | None,
    account: str | None,
    effective: bool,
    backend: bool,
    output: str,
) -> None:
    """Check the configuration, and report every error in it.

    With --message, --event or --kind, show what would handle it: a rule, a chat command, a session,
    or nothing.

    \b
    Examples:
      wxgpt check
      wxgpt --config /etc/wxgptd/wxgptd.toml check
      wxgpt check --effective
      wxgpt check --backend
      wxgpt check --message "你好"
      wxgpt check --event CLICK:MENU_PRICES
    """
    from wxgpt.diagnosis.configuration import group_that_reads
    from wxgptd.config import ConfigError, doubts, load

    path = options.config_path()
    try:
        config = load(path, elsewhere=True)
    except ConfigError as error:
        for fault in error.faults:
            click.echo(spoken("{path}: {fault}", path=path, fault=fault), err=True)
        raise ConfigError(path, [render.counted(len(error.faults), "error")]) from None
    probes = [probe for probe in (message, event, kind) if probe is not None]
    if len(probes) > 1:
        raise UsageFailure(say("give only one of --message, --event and --kind"))
    if probes:
        _explain(config, account, _content(message, event, kind))
        return
    if backend:
        _show_backend(config)
        return
    if effective:
        _show_effective(config, path, output)
        return
    if output == "json":
        click.echo(render.dumps({"ok": True, "path": str(path), "doubts": list(doubts(config))}))
        return
    _show_summary(config)
    for doubt in doubts(config):
        click.echo(spoken("warning: {doubt}", doubt=doubt), err=True)
    if group := group_that_reads(path):
        click.echo(
            spoken("warning: {path} is readable by group {group}", path=path, group=group), err=True
        )
    click.echo(spoken("{path}: ok", path=path))


def _show_summary(config: Config) -> None:
    """Show the accounts and the assistants, one per line."""
    from wxgptd.config import chat_command, webhook_path

    for name, settings in config.account.items():
        mode = say("safe mode") if settings.aes_key else say("plain text")
        click.echo(
            spoken(
                "account {name}: {webhook_path}, {mode}",
                name=name,
                webhook_path=webhook_path(name, settings),
                mode=mode,
            )
        )
    for name, assistant in config.assistant.items():
        click.echo(
            spoken(
                "assistant {name}: {chat_command} asks {model}",
                name=name,
                chat_command=chat_command(name, assistant),
                model=assistant.model,
            )
        )


def _show_backend(config: Config) -> None:
    """Show the four values to enter in WeChat's backend for each account."""
    from wxgpt.setup.steps import backend_values
    from wxgptd.config import webhook_path

    for name, account in config.account.items():
        url = config.server.public_url.rstrip("/") + webhook_path(name, account)
        key = account.aes_key.reveal() if account.aes_key else spoken("(any)")
        click.echo(spoken("account {name}", name=name))
        click.echo(backend_values(url, account.token.reveal(), key, safe=bool(account.aes_key)))


def _show_effective(config: Config, path: Path, output: str) -> None:
    """Show every value, with secrets masked."""
    from wxgpt.effective import values

    items = list(values(config, path))
    if output == "json":
        rows = {item.key: {"value": item.value, "from": item.source} for item in items}
        click.echo(render.dumps(rows))
        return
    for item in items:
        shown = "***" if item.value == "***" else item.text
        render.row(f"{item.key} = {shown}  ({item.source})")


def _content(message: str | None, event: str | None, kind: str | None) -> Content:
    from wxgptd.domain.intake import rules
    from wxgptd.domain.model.values import (
        Ignorable,
        Picture,
        Subscribe,
        Text,
        Unsubscribe,
        Unsupported,
    )

    if message is not None:
        return Text(message)
    if event is not None:
        name, _, key = event.partition(":")
        match name.lower():
            case "subscribe":
                return Subscribe(key.removeprefix("qrscene_"))
            case "unsubscribe":
                return Unsubscribe()
            case other:
                return Ignorable(other, key)
    if kind not in rules.KINDS or kind in ("event", "text"):
        kinds = ", ".join(name for name in rules.KINDS if name not in ("event", "text"))
        raise UsageFailure(
            say("no such kind: {kind}", kind=kind),
            hint=say("kinds: {kinds}; or use --event", kinds=kinds),
        )
    if kind == "image":
        return Picture("")
    return Text("", kind) if kind in ("location", "link") else Unsupported(kind)


def _explain(config: Config, name: str | None, content: Content) -> None:
    """Print what handles `content`: in a session, after one has expired, and outside."""
    from wxgptd.config import chat_commands, compiled_rules, policy
    from wxgptd.domain.intake import routing, rules
    from wxgptd.domain.intake.phrases import Continue, Vocabulary
    from wxgptd.domain.model.values import DeliveryKey

    name, account = options.pick_account(config, name)
    account_rules, commands = compiled_rules(config, name), chat_commands(config)
    message = routing.Message(
        delivery=DeliveryKey(""),
        content=content,
        phrase=Vocabulary(commands, config.commands.words).read(content),
        assistants=commands,
        always=rules.first(account_rules, content, always=True),
        otherwise=rules.first(account_rules, content, always=False, welcome=bool(account.welcome)),
    )
    account_policy = policy(config, account)
    handlers = {
        situation: _describe_handler(
            routing.route(state, message, account_policy, at), config, name, content
        )
        for situation, state, at in _situations(config, account_policy)
    }
    if isinstance(message.phrase.action, Continue):
        click.echo(spoken("first: the next part of the last answer, if there is one; otherwise"))
    if handlers.get(AFTER_EXPIRY) == handlers[OUTSIDE]:
        del handlers[AFTER_EXPIRY]
    if len(set(handlers.values())) == 1:
        event = rules.kind_of(content) == "event" and message.always is None
        where = say("in or outside a session") if event else say("always")
        click.echo(spoken("{situation}: {handler}", situation=where, handler=handlers[OUTSIDE]))
        return
    for situation, handler in handlers.items():
        click.echo(spoken("{situation}: {handler}", situation=situation, handler=handler))


AFTER_EXPIRY, OUTSIDE = say("after a session expired"), say("outside a session")


def _situations(config: Config, policy: Policy) -> Iterator[tuple[str, UserState, float]]:
    """Yield each situation a user can be in: its name, the user's state, and the time."""
    from wxgptd.domain.model.session import Session
    from wxgptd.domain.model.state import EMPTY
    from wxgptd.domain.model.values import AssistantName, SessionId

    first = AssistantName(next(iter(config.assistant)))
    live = Session(SessionId(""), first, 0.0, 0.0, policy.session_ttl_s)
    talking = EMPTY._replace(version=1, live=live)
    yield say("in a session"), talking, 0.0
    if policy.resume_within_s:
        yield AFTER_EXPIRY, talking, policy.session_ttl_s
    yield OUTSIDE, EMPTY, 0.0


def _describe_handler(route: Route, config: Config, name: str, content: Content) -> str:
    """Describe what handles a message."""
    from wxgptd.domain.intake import phrases, routing
    from wxgptd.domain.model.values import Subscribe

    account = config.account[name]
    match route:
        case routing.ByRule(rule=rule) | routing.Membership(rule=rule) if rule is not None:
            return _describe_rule(rule)
        case routing.Membership() if account.welcome and isinstance(content, Subscribe):
            return say("the welcome of account {name}", name=name)
        case routing.Command(action=phrases.Open(assistant=assistant)):
            return say(
                "the chat command that opens a session with {assistant}", assistant=assistant
            )
        case routing.Command(action=phrases.Unknown(nearest=nearest)):
            return say("not a chat command; {nearest} is suggested", nearest=nearest or "/help")
        case routing.Command(action=action, resumes=resumes):
            suffix = say(" (the session is resumed)") if resumes else ""
            return say(
                "the chat command {command}{suffix}",
                command=COMMAND_NAMES[type(action).__name__],
                suffix=suffix,
            )
        case routing.Ask(resumes=True):
            return say("resumes the session, as its next question (after_expiry)")
        case routing.Ask():
            return _question(config, name, content)
        case routing.Hint():
            return say("held; a hint says so, and a tap resumes the session (after_expiry)")
        case _:
            return say("nothing; WeChat gets `success`")


COMMAND_NAMES = {
    "EndSession": "/stop",
    "StopAnswer": "停止",
    "Clear": "/clear",
    "History": "/history",
    "Help": "/help",
    "Retry": "/retry",
    "Resume": "接着聊",
    "ChooseModel": "/model",
    "Continue": "继续",
}


def _question(config: Config, name: str, content: Content) -> str:
    from wxgptd.domain.model.values import Picture, Text

    account = config.account[name]
    match content:
        case Text() if account.open_without_command:
            assistant = account.assistant or next(iter(config.assistant))
            return say(
                "a question; outside a session it opens one with {assistant}", assistant=assistant
            )
        case Text():
            return say("a question for the model")
        case Picture():
            return say("a question if the model has vision, otherwise a reply that it has none")
        case _:
            return say("a reply that this kind is not supported")


def _describe_rule(rule: Rule) -> str:
    from wxgptd.domain.intake.rules import Backend, NewsReply, TextReply

    match rule.action:
        case Backend(url=url):
            effect = say("forwards to {url}", url=url.split("?")[0])
        case TextReply(text=text):
            effect = say("replies {text}", text=render.shorten(render.printable(text), 60))
        case NewsReply(articles=articles):
            effect = say("replies with news: {title}", title=render.printable(articles[0].title))
        case reply:
            effect = say(
                "replies with {kind}", kind=type(reply).__name__.removesuffix("Reply").lower()
            )
    return say(
        "rule {number} ({about}) {effect}",
        number=rule.number,
        about=render.printable(rule.about),
        effect=effect,
    )
