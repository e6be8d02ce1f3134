"""`wxgpt tail`: show events as they are written; reads the log directly, without the daemon."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from wxgpt import completing, control, matching, options, render
from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken
from wxgpt.log import dialogues, rendering, replies
from wxgpt.log.bubbles import SHOWN, Chat
from wxgpt.log.watch import Watch
from wxgptd.eventlog.codec import KINDS
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgpt.options import Log
    from wxgptd.eventlog.following import Follower
    from wxgptd.ports.record import AnyRecord

POLL_S = 30.0
"""The maximum wait for the kernel to report a write."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to show; an empty criterion matches all events."""

    users: frozenset[str]
    sessions: frozenset[str]
    kinds: frozenset[str]
    accounts: frozenset[str]
    grep: frozenset[str]
    after: int
    since: float | None
    until: float | None

    @property
    def searches(self) -> bool:
        """Whether any criterion other than the event number is set."""
        chosen = self.users or self.sessions or self.kinds or self.accounts or self.grep
        return bool(chosen) or self.since is not None or self.until is not None

    def over(self, now: float) -> bool:
        """Return whether no future event can match."""
        return self.until is not None and now > self.until

    def left(self, now: float, most: float) -> float:
        """Return the maximum number of seconds to wait for further events."""
        return most if self.until is None else min(most, max(self.until - now, 0.0) + 0.01)

    def admits(self, record: AnyRecord) -> bool:
        """Return whether to show the event."""
        at = record.event.at
        return (
            record.seq > self.after
            and (self.since is None or at >= self.since)
            and (self.until is None or at <= self.until)
            and (not self.kinds or rendering.kind(record) in self.kinds)
            and (not self.users or not self.users.isdisjoint(rendering.names(record.user)))
            and (not self.accounts or record.user.account in self.accounts)
            and (not self.sessions or record.session in self.sessions)
            and (not self.grep or any(text in rendering.texts(record) for text in self.grep))
        )


class Found(NamedTuple):
    """What `--user` and `--session` mean: whole names, and what the log does not have."""

    users: frozenset[str]
    sessions: frozenset[str]
    unknown: frozenset[str]
    unknown_sessions: frozenset[str]

    @classmethod
    def of(
        cls, log: Log, users: frozenset[str], sessions: frozenset[str], names: Mapping[str, str]
    ) -> Found:
        """Return what the beginnings mean: of OpenIDs, of the `names` of users, of sessions.

        Raises:
            NotUnique: several users or sessions begin like that.
        """
        if not users and not sessions:
            return cls(users, sessions, frozenset(), frozenset())
        from wxgptd.eventlog import reader

        aliases: dict[str, tuple[str, ...]] = {}
        every: set[str] = set()
        for record in reader.scan(log.directory, log.keys):
            every.add(record.session)
            whole = rendering.names(record.user)[-1]
            if whole not in aliases:
                aliases[whole] = rendering.aliases(record.user, names)
        found = {given: matching.meant(given, aliases) for given in users}
        begun = {given: matching.only(given, every - {""}) for given in sessions}
        return cls(
            frozenset(whole or given for given, whole in found.items()),
            frozenset(whole or given for given, whole in begun.items()),
            frozenset(given for given, whole in found.items() if whole is None),
            frozenset(given for given, whole in begun.items() if whole is None),
        )


@click.command("tail")
@click.option("-f", "--follow", is_flag=True, help="Wait for new events and show them.")
@click.option(
    "-n",
    "--lines",
    "count",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show the last N events.  [default: 20 with text output, otherwise all]",
)
@click.option("--since", type=options.Time(), help="From this time on.")
@click.option("--until", type=options.Time(), help="Up to this time.")
@click.option(
    "--user",
    "users",
    metavar="OPENID,..",
    default="",
    help="Only these users.",
    shell_complete=completing.users,
)
@click.option(
    "--account",
    "accounts",
    metavar="NAME,..",
    default="",
    help="Only these accounts.",
    shell_complete=completing.accounts,
)
@click.option(
    "--session",
    "sessions",
    metavar="ID,..",
    default="",
    help="Only these sessions.",
    shell_complete=completing.sessions,
)
@click.option(
    "--kind",
    "kinds",
    metavar="KIND,..",
    default="",
    help="Only these kinds.",
    shell_complete=completing.kinds,
)
@click.option("--grep", default="", metavar="TEXT,..", help="Only events with any of these texts.")
@click.option("--after", type=click.IntRange(min=0), metavar="SEQ", help="After event number SEQ.")
@click.option(
    "--cursor-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Resume after the event number in this file, and update it (at-least-once delivery).",
)
@click.option("-r", "--reverse", is_flag=True, help="Newest first.")
@click.option("--chat", "as_chat", is_flag=True, help="Show what people say as a chat.")
@click.option("--wide", is_flag=True, help="Show event numbers, accounts and sessions, too.")
@click.option("--utc", is_flag=True, help="Times in UTC.")
@options.output_option("text", "json", "ndjson")
def command(
    follow: bool,
    count: int | None,
    since: float | None,
    until: float | None,
    users: str,
    accounts: str,
    sessions: str,
    kinds: str,
    grep: str,
    after: int | None,
    cursor_file: Path | None,
    reverse: bool,
    as_chat: bool,
    wide: bool,
    utc: bool,
    output: str,
) -> None:
    """Show the log's events; with -f, follow new ones.

    \b
    Examples:
      wxgpt tail -f
      wxgpt tail -f --chat
      wxgpt tail -n 100 --kind asked,answered
      wxgpt tail --since 2h --user oXXXX -o ndjson
      wxgpt tail -f --cursor-file seen.seq -o ndjson

    Times are 10m, 2h, 3d, yesterday, today, a date, RFC 3339 or @epoch.
    """
    if follow and reverse:
        raise UsageFailure(say("--follow and --reverse are mutually exclusive"))
    output = "ndjson" if follow and output == "json" else output  # a list has to end
    after = _cursor(cursor_file) if after is None else after
    log = options.open_log()
    names = control.names() if output == "text" or users else {}
    chosen = Found.of(log, _choice(users), _choice(sessions), names)
    _report_unknown(chosen, give_up=not follow)
    wanted = Filter(
        users=chosen.users,
        accounts=_choice(accounts),
        sessions=chosen.sessions,
        kinds=_kinds(kinds) or (SHOWN if as_chat else frozenset()),
        grep=_choice(grep),
        after=after or 0,
        since=since,
        until=until,
    )
    if count is None and output == "text" and (after, since, until) == (None, None, None):
        count = 20
    show = _Printer("chat" if as_chat and output == "text" else output, names, utc=utc, wide=wide)
    follower = _follower(log, _begin(log.directory, wanted, count))
    history = deque(filter(wanted.admits, follower.poll()), maxlen=count)
    show.all(list(reversed(history) if reverse else history))
    if history:
        _keep_cursor(cursor_file, history[-1].seq)
    if follow:
        click.echo(spoken("following, ^C to quit"), err=True)
        _follow(follower, wanted, Watch(log.directory), show, cursor_file)


command.epilog = say("Kinds are {kinds}.", kinds=", ".join(KINDS))


def _follower(log: Log, after: int) -> Follower:
    from wxgptd.eventlog.following import Follower

    return Follower(*log, after=after)


def _follow(
    follower: Follower, wanted: Filter, watch: Watch, show: _Printer, cursor_file: Path | None
) -> None:
    """Show new events, until no future event can match."""
    while not wanted.over(time.time()):
        for record in filter(wanted.admits, follower.poll()):
            show.one(record)
            _keep_cursor(cursor_file, record.seq)
        watch.wait(wanted.left(time.time(), POLL_S))


def _report_unknown(chosen: Found, *, give_up: bool) -> None:
    """Report users and sessions without events.

    Raises:
        UnknownUser, UnknownSession: `give_up` is set (no further events will be read).
    """
    if chosen.unknown_sessions and give_up:
        raise dialogues.unknown_session(", ".join(sorted(chosen.unknown_sessions)))
    if not chosen.unknown:
        return
    error = control.unknown_users(chosen.unknown)
    if give_up:
        raise error
    click.echo(shown(error), err=True)


def _begin(directory: Path, wanted: Filter, count: int | None) -> int:
    """Return the event number to start reading after."""
    if wanted.searches or count is None:
        return wanted.after
    from wxgptd.eventlog.reader import newest_seq

    return max(wanted.after, newest_seq(directory) - count)


class _Printer:
    def __init__(self, output: str, names: Mapping[str, str], *, utc: bool, wide: bool) -> None:
        self._output = output
        columns = shutil.get_terminal_size((120, 24)).columns
        width = columns if sys.stdout and sys.stdout.isatty() else 100_000
        said = replies.read() if output in ("text", "chat") else replies.Replies(None)
        self._look = rendering.Look(utc, width, wide, names, said)
        self._chat = Chat(names, said, utc=utc, width=columns)

    def all(self, records: list[AnyRecord]) -> None:
        if self._output == "json":
            click.echo(render.dumps([rendering.as_json(record) for record in records]))
            return
        for record in records:
            self.one(record)

    def one(self, record: AnyRecord) -> None:
        if self._output in ("text", "chat"):
            lines = (
                self._chat.lines(record)
                if self._output == "chat"
                else [rendering.as_line(record, self._look)]
            )
            for line in lines:
                click.echo(line.encode("utf-8", "replace").decode())
        else:
            click.echo(render.dumps(rendering.as_json(record)))


def _choice(given: str) -> frozenset[str]:
    return frozenset(part.strip() for part in given.split(",") if part.strip())


def _kinds(given: str) -> frozenset[str]:
    kinds = {kind.lower(): kind for kind in KINDS}
    for kind, label in rendering.LABELS.items():
        kinds |= {label: kind, shown(label): kind}
    chosen = {name: name.replace("_", "").lower() for name in _choice(given)}
    unknown = sorted(name for name, key in chosen.items() if key not in kinds)
    if unknown:
        raise UsageFailure(
            say("no such kind: {unknown}", unknown=", ".join(unknown)),
            hint=say("kinds: {kinds}", kinds=", ".join(map(shown, rendering.LABELS.values()))),
        )
    return frozenset(kinds[key] for key in chosen.values())


def _cursor(path: Path | None) -> int | None:
    if path is None or not path.exists():
        return None
    text = path.read_text("ascii", "replace").strip()
    if not text.isdigit():
        raise UsageFailure(
            say("{path} has no event number", path=path), hint=say("delete it to start over")
        )
    return int(text)


def _keep_cursor(path: Path | None, seq: int) -> None:
    if path is not None:
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(f"{seq}\n")
        fresh.replace(path)
