"""`wxgpt tail`: the log as it is written, read by itself: the daemon need not be up."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wxgpt import completing, options, render
from wxgpt.control import UnknownUser
from wxgpt.failures import UsageFailure
from wxgpt.watch import Watch

if TYPE_CHECKING:
    from wxgpt.render import AnyRecord
    from wxgptd.eventlog.reader import Follower

LOOK_AGAIN_S = 30.0
"""How long to wait at most for the kernel to say that something was written."""
LOOK_BACK_EVENTS = 50_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to show; an empty criterion admits all."""

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
        """Whether events are chosen by anything but their number."""
        chosen = self.users or self.sessions or self.kinds or self.accounts or self.grep
        return bool(chosen) or self.since is not None or self.until is not None

    def over(self, now: float) -> bool:
        """Tell whether nothing that is still to come can be meant."""
        return self.until is not None and now > self.until

    def left(self, now: float, most: float) -> float:
        """Return how many seconds to wait at most for what is still to come."""
        return most if self.until is None else min(most, max(self.until - now, 0.0) + 0.01)

    def admits(self, record: AnyRecord, session: str) -> bool:
        """Tell whether to show the event."""
        at = record.event.at
        return (
            record.seq > self.after
            and (self.since is None or at >= self.since)
            and (self.until is None or at <= self.until)
            and (not self.kinds or render.kind(record) in self.kinds)
            and (not self.users or not self.users.isdisjoint(render.names(record.user)))
            and (not self.accounts or record.user.account in self.accounts)
            and (not self.sessions or session in self.sessions)
            and (not self.grep or any(text in render.texts(record) for text in self.grep))
        )


@click.command("tail")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option(
    "-n",
    "--lines",
    "count",
    type=click.IntRange(min=0),
    help="The last N events.  [default: 20 with text output, else all]",
)
@click.option("--since", type=options.Time(), help="From this time on.")
@click.option("--until", type=options.Time(), help="Up to this time.")
@click.option(
    "--user",
    "users",
    metavar="OPENID,..",
    default="",
    help="Of these users.",
    shell_complete=completing.users,
)
@click.option(
    "--account",
    "accounts",
    metavar="NAME,..",
    default="",
    help="Of these accounts.",
    shell_complete=completing.accounts,
)
@click.option(
    "--session",
    "sessions",
    metavar="ID,..",
    default="",
    help="Of these sessions.",
    shell_complete=completing.sessions,
)
@click.option(
    "--kind",
    "kinds",
    metavar="KIND,..",
    default="",
    help="Of these kinds.",
    shell_complete=completing.kinds,
)
@click.option("--grep", default="", metavar="TEXT,..", help="With one of these texts in it.")
@click.option("--after", type=click.IntRange(min=0), metavar="SEQ", help="Behind this number.")
@click.option(
    "--cursor-file",
    type=click.Path(path_type=Path),
    help="Resume behind the number in this file, and keep it there (shown at least once).",
)
@click.option("-r", "--reverse", is_flag=True, help="Newest first.")
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
    utc: bool,
    output: str,
) -> None:
    """Show the events of the log, and follow them.

    \b
    Examples:
      wxgpt tail -f
      wxgpt tail -n 100 --kind QuestionAsked,AnswerCompleted
      wxgpt tail --since 2h --user oXXXX -o ndjson
      wxgpt tail -f --cursor-file seen.seq -o ndjson

    Times are 10m, 2h, 3d, yesterday, today, a date, RFC 3339 or @epoch. Kinds are SessionOpened,
    SessionClosed, SessionResumed, MessageHeld, CommandGiven, QuestionAsked, ContinuationAsked,
    MessageDeclined, MessagesUnanswered, UserSubscribed, UserUnsubscribed, AttemptRepeated,
    AnswerCompleted, AnswerFailed, AnswerRestarted, ReplyOffered, HistoryLinkIssued, PageOpened,
    PushStarted, PushDelivered, PushFailed, StandingChanged, ContextTrimmed, ModelChosen,
    UserErased, TailTrimmed, TimeoutBudgetSet.
    """
    if follow and reverse:
        raise UsageFailure("--follow and --reverse exclude each other")
    if follow and output == "json":
        output = "ndjson"  # a list that never ends is no JSON
    resumed = _cursor(cursor_file)
    after = resumed if after is None else after
    wanted = Filter(
        users=_choice(users),
        accounts=_choice(accounts),
        sessions=_choice(sessions),
        kinds=_kinds(kinds),
        grep=_choice(grep),
        after=after or 0,
        since=since,
        until=until,
    )
    bounded = after is not None or since is not None or until is not None
    if count is None and output == "text" and not bounded:
        count = 20
    directory, keys = options.open_log()
    show = _Printer(output, utc=utc)
    from wxgptd.eventlog.reader import Follower

    follower = Follower(directory, keys, after=_begin(directory, wanted, count))
    tracker = render.Sessions()
    shown: deque[tuple[AnyRecord, str]] = deque(maxlen=count)
    unseen = set(wanted.users)
    for record, session in _read(follower, tracker):
        if unseen:
            unseen.difference_update(render.names(record.user))
        if wanted.admits(record, session):
            shown.append((record, session))
    history = list(reversed(shown)) if reverse else list(shown)
    show.all(history)
    if history:
        _keep_cursor(cursor_file, max(record.seq for record, _ in history))
    if unseen:
        _say_unseen(unseen, give_up=not follow)
    if follow:
        click.echo("following, ^C to quit", err=True)
    watch = Watch(directory) if follow else None
    while watch is not None and not wanted.over(time.time()):
        for record, session in _read(follower, tracker):
            if wanted.admits(record, session):
                show.one(record, session)
                _keep_cursor(cursor_file, record.seq)
        watch.wait(wanted.left(time.time(), LOOK_AGAIN_S))


def _say_unseen(users: set[str], *, give_up: bool) -> None:
    """Say that nothing is known of some users; an end of it unless more is to come.

    Raises:
        UnknownUser: `give_up`.
    """
    said = f"nothing is known of {', '.join(sorted(users))}"
    if give_up:
        raise UnknownUser(said, hint="`wxgpt users list` shows who is known")
    click.echo(said, err=True)


def _begin(directory: Path, wanted: Filter, count: int | None) -> int:
    """Return the number behind which to begin to read.

    From the beginning where something is searched for. Else some way before what is shown: an
    event's session is known from the events before it.
    """
    if wanted.searches or (count is None and not wanted.after):
        return 0
    from wxgptd.eventlog.reader import newest_seq

    shown = wanted.after if count is None else max(wanted.after, newest_seq(directory) - count)
    return max(0, shown - LOOK_BACK_EVENTS)


def _read(follower: Follower, tracker: render.Sessions) -> Iterator[tuple[AnyRecord, str]]:
    for record in follower.poll():
        yield record, tracker.session_of(record)


class _Printer:
    def __init__(self, output: str, *, utc: bool) -> None:
        self._output = output
        self._utc = utc
        wide = shutil.get_terminal_size((120, 24)).columns
        self._width = wide if sys.stdout and sys.stdout.isatty() else 100_000

    def all(self, records: list[tuple[AnyRecord, str]]) -> None:
        if self._output == "json":
            click.echo(render.dumps([render.as_json(*pair) for pair in records]))
            return
        for record, session in records:
            self.one(record, session)

    def one(self, record: AnyRecord, session: str) -> None:
        if self._output == "text":
            line = render.as_line(record, session, utc=self._utc, width=self._width)
            click.echo(line.encode("utf-8", "replace").decode())
        else:
            click.echo(render.dumps(render.as_json(record, session)))


def _choice(given: str) -> frozenset[str]:
    return frozenset(part.strip() for part in given.split(",") if part.strip())


def _kinds(given: str) -> frozenset[str]:
    from wxgptd.eventlog.codec import KINDS

    known = {kind.lower(): kind for kind in KINDS}
    chosen = _choice(given)
    unknown = sorted(one for one in chosen if one.replace("_", "").lower() not in known)
    if unknown:
        raise UsageFailure(
            f"there is no kind {', '.join(unknown)}", hint=f"known: {', '.join(KINDS)}"
        )
    return frozenset(known[one.replace("_", "").lower()] for one in chosen)


def _cursor(path: Path | None) -> int | None:
    if path is None or not path.exists():
        return None
    text = path.read_text("ascii", "replace").strip()
    if not text.isdigit():
        raise UsageFailure(f"{path} holds no event number", hint="delete it to begin anew")
    return int(text)


def _keep_cursor(path: Path | None, seq: int) -> None:
    if path is not None:
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(f"{seq}\n")
        fresh.replace(path)
