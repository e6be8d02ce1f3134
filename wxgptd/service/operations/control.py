"""What the operator can see and do through the control socket, and the metrics.

Implements `wxgptd.ports.control.Control`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import nlargest
from operator import itemgetter
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime

from wxgptd import __version__
from wxgptd.config import ConfigError
from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide import limits
from wxgptd.domain.intake.routing import Left
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import (
    AccountName,
    AssistantName,
    CloseReason,
    Content,
    Ignorable,
    OpenId,
    Picture,
    SessionId,
    Standing,
    Text,
    Unsupported,
    User,
    is_follower,
)
from wxgptd.domain.prompt.context import Message
from wxgptd.ports.models import Breakdown, Completion, Prompt
from wxgptd.ports.store import EventStore
from wxgptd.service.answers.answering import Answering
from wxgptd.service.answers.inflight import InFlight
from wxgptd.service.conversation.clock_offset import ClockOffset
from wxgptd.service.conversation.conversations import Conversations
from wxgptd.service.conversation.timeouts import DeliberateTimeouts
from wxgptd.service.operations.fullness import Fullness
from wxgptd.service.operations.health import Health
from wxgptd.service.operations.reloading import Reloading
from wxgptd.service.state.erasing import Erasing
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.keeping import Keeping
from wxgptd.service.state.projections import OpenSessions, Spending
from wxgptd.service.state.settings import Settings
from wxgptd.service.state.timeline import Timeline
from wxgptd.service.state.unanswered import Unanswered


class Control:
    """Tells how things are, and ends sessions."""

    def __init__(
        self,
        *,
        journal: Journal,
        conversations: Conversations,
        answering: Answering,
        erasing: Erasing,
        settings: Settings,
        spending: Spending,
        flights: InFlight,
        sessions: OpenSessions,
        timeouts: DeliberateTimeouts,
        clock_offset: ClockOffset,
        store: EventStore,
        keeping: Keeping,
        reloading: Reloading,
        health: Health,
        readers: Callable[[], int],
        fullness: Fullness,
        unanswered: Unanswered,
        ready: Callable[[], bool],
        clock: IReactorTime,
        timeline: Timeline,
    ) -> None:
        self._journal = journal
        self._conversations = conversations
        self._answering = answering
        self._erasing = erasing
        self._settings = settings
        self._spending = spending
        self._flights = flights
        self._sessions = sessions
        self._timeouts = timeouts
        self._clock_offset = clock_offset
        self._store = store
        self._keeping = keeping
        self._reloading = reloading
        self._health = health
        self._readers = readers
        self._fullness = fullness
        self._unanswered = unanswered
        self.ready = ready
        self._clock = clock
        self._timeline = timeline
        self._started = clock.seconds()

    def status(self) -> Mapping[str, object]:
        """Return the daemon's condition."""
        now = self._timeline.now()
        store = self._store.figures()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "ready": self.ready(),
            "health": self._health.why_ill or "ok",
            "uptime_s": round(self._clock.seconds() - self._started, 1),
            "open_sessions": len(self._sessions),
            "held_attempts": self._conversations.held,
            "answers_running": self._flights.running(),
            "answers_waiting": len(self._flights) - self._flights.running(),
            "page_readers": self._readers(),
            "deliberate_timeouts": {
                account: self._timeouts_of(account, now) for account in self._settings.accounts
            },
            "unanswered": {
                account: self._unanswered_of(account) for account in self._settings.accounts
            },
            "clock_offset_s": _rounded(self._clock_offset.measured(now)),
            "push": {
                name: one.messenger.state
                for name, one in self._settings.accounts.items()
                if one.messenger is not None
            },
            "models": {
                name: one.model.condition() for name, one in self._settings.assistants.items()
            },
            "model_failures": {
                name: failure
                for name, one in self._settings.assistants.items()
                if (failure := one.model.last_failure())
            },
            "spent_today": dict(self._spending.spent()),
            "disk_full": self._store.full(),
            "seconds_since_full": self._fullness.recent(),
            "last_seq": store.last_seq,
            "snapshot_seq": self._keeping.snapshot_seq,
            "commits": store.commits,
            "fsync_mean_ms": round(1000 * store.sync_s / max(1, store.commits), 3),
        }

    def _timeouts_of(self, account: AccountName, now: float) -> Mapping[str, object]:
        return {
            "budget": self._timeouts.size(account),
            "auto": self._timeouts.fixed is None,
            "left": self._timeouts.left(account, now),
            "suspended_at": self._timeouts.suspended_at(account),
            "suspected": self._timeouts.is_suspected(account, now),
        }

    def _unanswered_of(self, account: AccountName) -> Mapping[str, int]:
        today, tomorrow = self._timeline.day()
        yesterday = today - 86_400.0
        return {
            "today": self._unanswered.between(account, today, tomorrow),
            "yesterday": self._unanswered.between(account, yesterday, today),
        }

    def sessions(self) -> Sequence[Mapping[str, object]]:
        """Return the open sessions."""
        shown = []
        for user in self._sessions:
            live = self._journal.state(user).live
            if live is not None:
                shown.append(
                    {
                        "session": live.id,
                        "account": user.account,
                        "user": user.openid,
                        "assistant": live.assistant,
                        "opened_at": live.opened_at,
                        "expires_at": live.expires_at,
                        "questions": len(live.questions),
                    }
                )
        return shown

    def questions(self) -> Sequence[Mapping[str, object]]:
        """Return the questions that have no answer yet, the oldest first."""
        now = self._timeline.now()
        shown = []
        for user, name, flight in self._flights:
            state = self._journal.state(user)
            found = state.find(name)
            if found is None:
                continue
            session, question = found
            window = state.windows.get(name)
            shown.append(
                {
                    "account": user.account,
                    "user": user.openid,
                    "session": session.id,
                    "assistant": session.assistant,
                    "delivery": name,
                    "asked_at": question.asked_at,
                    "waited_s": round(max(0.0, now - question.asked_at), 1),
                    "progress": flight.progress,
                    "written_chars": len(flight.written),
                    "attempts": window.attempts if window is not None else 0,
                }
            )
        return sorted(shown, key=itemgetter("asked_at"))

    def stop_session(self, session: str) -> Deferred[bool]:
        """End a session."""
        for user in self._sessions:
            live = self._journal.state(user).live
            if live is not None and live.id == session:
                command = c.CloseSession(
                    at=self._timeline.now(),
                    session=SessionId(session),
                    reason=CloseReason.OPERATOR,
                    written=self._answering.written(user),
                )
                self._journal.record(user, command)
                return self._journal.committed().addCallback(lambda _: True)
        return succeed(False)

    def users(self, limit: int, standing: str) -> Sequence[Mapping[str, object]]:
        """Return users, those who were heard of last first."""
        now = self._timeline.now()
        day_began_at, _ = self._timeline.day()
        shown = []
        for heard_at, user in nlargest(limit, self._heard_of(standing, now)):
            state = self._journal.state(user)
            today = list(limits.questions_since(state, day_began_at))
            shown.append(
                {
                    "account": user.account,
                    "user": user.openid,
                    "standing": state.stands(now),
                    "until": state.standing_until or None,
                    "last_at": heard_at or None,
                    "questions_today": len(today),
                    "tokens_today": limits.tokens_of(today),
                }
            )
        return shown

    def _heard_of(self, standing: str, now: float) -> Iterator[tuple[float, User]]:
        """Yield when users were heard of last, those of one standing or all."""
        default = standing in ("", Standing.DEFAULT)
        for user, one in tuple(self._journal.asleep().items()):
            if one.marked:
                self._journal.state(user)  # wakes; of the others the standing is known
            elif default and is_follower(user):
                yield one.last_at, user
        for user, state in self._journal.awake():
            if standing in ("", state.stands(now)) and is_follower(user):
                yield state.heard_at, user

    def knows(self, account: str, openid: str) -> bool:
        """Tell whether anything is known of a user."""
        return bool(self._journal.state(User(AccountName(account), OpenId(openid))).version)

    def whose(self, account: str, openid: str, text: str, *, kind: str, tapped: bool) -> str | None:
        """Return who would handle a message of a user that came now."""
        if account not in self._settings.accounts:
            return None
        content: Content
        match kind:
            case "text" | "location" | "link":
                content = Text(text, kind, tapped=tapped)
            case "voice" if text:
                content = Text(text, kind)
            case "image":
                content = Picture("")
            case "event":
                content = Ignorable("")
            case _:
                content = Unsupported(kind)
        route = self._conversations.whose(User(AccountName(account), OpenId(openid)), content)
        return route.why if isinstance(route, Left) else type(route).__name__.lower()

    def change_standing(
        self, account: str, openid: str, standing: str, for_s: float
    ) -> Deferred[bool]:
        """Block or allow a user."""
        if account not in self._settings.accounts:
            return succeed(False)
        now = self._timeline.now()
        changed = e.StandingChanged(
            at=now, standing=Standing(standing), until=now + for_s if for_s else 0.0
        )
        self._journal.record(User(AccountName(account), OpenId(openid)), c.Note(changed))
        return self._journal.committed().addCallback(lambda _: True)

    def forget(self, account: str, openid: str) -> Deferred[bool]:
        """Erase a user."""
        user = User(AccountName(account), OpenId(openid))
        return self._erasing.erase(user, CloseReason.OPERATOR)

    def vacuum(self) -> Deferred[Mapping[str, object]]:
        """Take a snapshot and drop what is not to be kept."""
        return self._keeping.vacuum().addCallback(
            lambda retained: {
                "snapshot": self._keeping.snapshot_seq,
                "dropped_segments": retained.segments,
                "dropped_bytes": retained.size,
                "left_bytes": retained.left,
            }
        )

    def reload(
        self, given: tuple[str, Path, int] | None, *, dry: bool = False
    ) -> Mapping[str, object]:
        """Take up another configuration, or say what that would change."""
        reloading = self._reloading
        try:
            read = reloading.reader(*(given or ()))
            adopted = reloading.compare(read) if dry else reloading.take(read)
        except ConfigError as error:
            return {"faults": error.faults}
        return {"changed": adopted.changed, "takes_restart": adopted.takes_restart}

    def try_push(self, account: str) -> Deferred[str] | None:
        """Find out whether WeChat's API can be used for an account."""
        known = self._settings.accounts.get(AccountName(account))
        return known.messenger.probe() if known is not None and known.messenger else None

    def try_assistant(self, name: str) -> Deferred[Sequence[Mapping[str, object]] | None]:
        """Ask each model of an assistant for a single token."""
        assistant = self._settings.assistants.get(AssistantName(name))
        if assistant is None:
            return succeed(None)

        def one(model: str) -> Deferred[Mapping[str, object]]:
            prompt = Prompt(messages=(Message("user", "1"),), model=model, probe=True)
            asked = assistant.model.ask(prompt, lambda _: None)
            return asked.addCallback(lambda result: _as_json(model, result))

        tried: Deferred[Any] = gatherResults([one(model) for model in assistant.models])
        return tried


def _as_json(model: str, result: Completion | Breakdown) -> Mapping[str, object]:
    match result:
        case Completion():
            return {"ok": True, "model": model, "took_s": result.took_s}
        case Breakdown():
            return {
                "ok": False,
                "model": model,
                "reason": result.reason,
                "detail": result.detail,
            }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
