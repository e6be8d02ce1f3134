"""Build the command for a message: all that the domain needs besides the user's state.

Clock readings, random values and state shared between users reach a decision only inside a command,
and this module builds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wxgptd.domain.decide import commands as c
from wxgptd.domain.intake import phrases
from wxgptd.domain.intake.routing import Message
from wxgptd.domain.model import reply_window
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import Content, Policy, SessionId, Text
from wxgptd.ports.keys import ShortLivedKeys
from wxgptd.service.answers.moderation import Moderation
from wxgptd.service.conversation.attempt import Attempt
from wxgptd.service.state.clock_offset import ClockOffset
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.projections import Spending
from wxgptd.service.state.recently_erased import RecentlyErased
from wxgptd.service.state.settings import Links

_STOPPING = (phrases.EndSession, phrases.StopAnswer, phrases.Clear)


@dataclass(frozen=True, slots=True)
class NewIds:
    """Values generated for each message: the id of a session that it may open, and its link."""

    session: Callable[[], SessionId]
    links: Links


@dataclass(frozen=True, slots=True)
class SharedFacts:
    """What a decision needs that is not part of any user's state."""

    moderation: Moderation
    spending: Spending
    recently_erased: RecentlyErased


class Receiving:
    """Builds the command for a message. `short_lived_keys` encrypts text that is held back."""

    def __init__(
        self,
        across: SharedFacts,
        fresh: NewIds,
        short_lived_keys: ShortLivedKeys,
        clock_offset: ClockOffset,
        event_clock: EventClock,
    ) -> None:
        self._across = across
        self._fresh = fresh
        self._passing_keys = short_lived_keys
        self._clock_offset = clock_offset
        self._event_clock = event_clock

    def command(
        self,
        attempt: Attempt,
        message: Message,
        state: UserState,
        policy: Policy,
        written: Callable[[], tuple[c.PartialAnswer, ...]],
        sealed: bytes = b"",
    ) -> c.Receive:
        """Return the command that receives `message`, whose sender's state is `state`.

        `written` returns the text so far of the sender's running answers; `sealed` is the encrypted
        text of a message that is held back.
        """
        user, delivery, _, sent_at, _, at = attempt
        day_began_at, day_ends_at = self._event_clock.day()
        held = self._held_back(message, state, at)
        links, across = self._fresh.links, self._across
        return c.Receive(
            at=at,
            message=message,
            policy=policy,
            fresh_session=self._fresh.session(),
            link=links.hash(links.token(user, delivery, ())),
            day_began_at=day_began_at,
            day_ends_at=day_ends_at,
            moderated=across.moderation.objects(_question_content(message, state, held)),
            spent=across.spending.without_budget(),
            used=across.recently_erased.used(user, day_began_at),
            sent_at=sent_at,
            delay_s=reply_window.delay(at, sent_at, self._clock_offset.seconds(at)),
            written=written() if isinstance(message.phrase.action, _STOPPING) else (),
            sealed=sealed,
            held=held,
        )

    def seal(self, content: Content, policy: Policy, at: float) -> bytes:
        """Encrypt the text of a message to be held back; return b"" if it is too long."""
        words = phrases.spoken(content).strip().encode("utf-8", "surrogatepass")
        if len(words) > policy.max_question_bytes:
            return b""
        return self._passing_keys.seal(words, at)

    def _held_back(self, message: Message, state: UserState, at: float) -> str:
        """Return the text that was held back if `message` asks for it, else ""."""
        if not isinstance(message.phrase.action, phrases.Resume):
            return ""
        held = state.held_at(at)
        words = self._passing_keys.open(held.sealed, at) if held is not None else None
        return words.decode("utf-8", "surrogatepass") if words is not None else ""


def _question_content(message: Message, state: UserState, held: str) -> Content:
    """Return the question in a message: its own text, the text held back, or the last question."""
    if held:
        return Text(held)
    last = state.live or state.past.last()
    question = last.newest if last is not None else None
    if isinstance(message.phrase.action, phrases.Retry) and question is not None:
        return Text(question.text)
    return message.content
