"""What the floors above speak to each other through, and the values that pass.

An edge (WeChat, the model, the pages, the control socket) knows these protocols and nobody who
implements them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from wxgptd.domain.context import Message
from wxgptd.domain.events import Event
from wxgptd.domain.record import Capture, Loaded, Retained, StoreFigures
from wxgptd.domain.rules import RuleReply
from wxgptd.domain.values import Content, DeliveryKey, FailureReason, Finish, OpenId, User

T = TypeVar("T")


class InThread(Protocol):
    """Does work in another thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Fire with what `work` returns."""
        ...


# The WeChat edge.


@dataclass(frozen=True, slots=True)
class Say:
    """Answer the attempt with this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Ignore:
    """Answer the attempt with `success`: it is for others, or for nobody."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Close the connection without a byte, so that WeChat asks again."""


@dataclass(frozen=True, slots=True)
class Present:
    """Answer the attempt with what an operator's rule has for it."""

    reply: RuleReply


@dataclass(frozen=True, slots=True)
class Forward:
    """Hand the attempt on to the server at `url`, as WeChat sent it, and answer as that does."""

    url: str


Outcome = Say | Present | Forward | Ignore | Silence


class Conversations(Protocol):
    """Whoever answers messages."""

    def attempt(self, user: User, delivery: DeliveryKey, content: Content) -> Deferred[Outcome]:
        """Answer one attempt to deliver a message.

        Cancel the Deferred when the peer hangs up: that ends the waiting of this attempt, and
        nothing else.
        """
        ...


# The model.


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer. Tokens are as the server reported them, 0 where it did not."""

    text: str
    finish: Finish
    model: str
    prompt_tokens: int
    completion_tokens: int
    first_text_s: float
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """No whole answer: `text` is as far as it came, `detail` is for the operator's eyes.

    `context_limit` is how many tokens the server says that it takes, where it says that.
    """

    reason: FailureReason
    text: str
    detail: str
    retry_after_s: float = 0.0
    context_limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model is asked.

    `model` is another one than the configured one, if not empty. Where asking again can help,
    that may begin within `retry_for_s` seconds. If there is no sign of an answer (or of
    thinking) within `first_token_within_s` seconds, it is given up; 0 is as long as it takes.
    A `probe` wants to know whether anybody answers: a single token will do, or none.
    """

    messages: Sequence[Message]
    model: str = ""
    retry_for_s: float = 0.0
    first_token_within_s: float = 0.0
    probe: bool = False


def ignore(_piece: str) -> None:
    """Take a piece of text, and do nothing with it."""


class ChatModel(Protocol):
    """Whoever writes answers."""

    def ask(
        self,
        prompt: Prompt,
        on_text: Callable[[str], None],
        on_thought: Callable[[str], None] = ignore,
    ) -> Deferred[Completion | Breakdown]:
        """Have `prompt` answered; `on_text` is called with each piece of the answer.

        The pieces joined are the answer's text. `on_thought` gets what the model thinks, which
        is no part of it. Cancelling ends the call.
        """
        ...

    def condition(self) -> str:
        """Return how the server does as far as is known, in words; `ok` if all is well."""
        ...


class Pictures(Protocol):
    """Whoever can get the pictures that users send."""

    def fetch(self, url: str) -> Deferred[str | None]:
        """Fire with the picture at `url` as a data URL, or with None if it cannot be had."""
        ...


# Messages to users that they did not just ask for.


@dataclass(frozen=True, slots=True)
class Delivered:
    """WeChat took the message."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """WeChat did not take the message, or nobody knows; `code` is WeChat's, or 0."""

    code: int
    detail: str


class Messenger(Protocol):
    """Whoever can send customer-service messages for an account."""

    @property
    def state(self) -> str:
        """How it does, in a word for the operator; `on` if all is well."""
        ...

    def probe(self) -> Deferred[str]:
        """Ask WeChat for a token; fires with what is wrong, or an empty text."""
        ...

    def usable(self) -> bool:
        """Tell whether it makes sense to try, as far as is known."""
        ...

    def send(
        self, openid: OpenId, text: str, wanted: Callable[[], bool]
    ) -> Deferred[Delivered | Undelivered]:
        """Send `text` to a user; never more than once, as far as can be told.

        Whatever has to come first may take a while: it is sent if it is still `wanted` then.
        """
        ...


# The log.


class EventStore(Protocol):
    """Whoever keeps events for good."""

    def append(self, user: User, events: Sequence[Event], expected: int) -> Deferred[int]:
        """Append `events`, which rest on version `expected` of `user`, all or none.

        A store with one writer may take that writer's word for `expected`. Fires with the
        position of the last one when they are durable.
        """
        ...

    def load(self, since: Mapping[type[Event], float]) -> Loaded:
        """Return what a start needs, with the events of these kinds from these times on."""
        ...

    def figures(self) -> StoreFigures:
        """Return what has been committed since the start."""
        ...

    def full(self) -> bool:
        """Tell whether there is hardly room for more: what can be refused should be."""
        ...

    def snapshot(self, capture: Capture, *, only: bool) -> Callable[[], None]:
        """Return what keeps `capture` so that a later start need not read what led there.

        To be called in any thread once `capture` is durable. `only`: nothing older may be left.
        """
        ...

    def retain(self, before: float, most_bytes: int) -> Retained:
        """Delete events from before `before` and what is over `most_bytes`; 0 is no bound.

        Only what a snapshot has is deleted. To be called in any thread.
        """
        ...


# The pages.


class Progress(StrEnum):
    """How far an answer is, for whoever looks at its page."""

    WAITING = "waiting"
    THINKING = "thinking"
    WRITING = "writing"
    DONE = "done"
    CUT_SHORT = "cut_short"
    INTERRUPTED = "interrupted"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing more will come."""
        return self not in (Progress.WAITING, Progress.THINKING, Progress.WRITING)


@dataclass(frozen=True, slots=True)
class AnswerView:
    """An answer as it stands. `failure` is the sentence to show if it is `FAILED`.

    `generation` changes when the answer begins anew, so that positions in the former text mean
    nothing any more. `thoughts` is what the model thought, where readers may see that; it is not
    on record, and gone once the answer is. It has been asked `waited_s` seconds ago.
    """

    question: str
    asked_at: float
    progress: Progress
    text: str
    failure: str
    generation: int
    thoughts: str
    waited_s: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a history page and what came of it."""

    asked_at: float
    question: str
    answer: str
    progress: Progress
    failure: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One session of a history page; `ended` is the label of how it ended."""

    opened_at: float
    assistant: str
    ended: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class HistoryView:
    """One page of a user's sessions, newest first; `pages` is how many there are.

    `turns` is how many questions are on all of them. Sessions that ended before `since` are not
    kept any more; 0 is that all are.
    """

    dialogues: tuple[Dialogue, ...]
    page: int
    pages: int
    turns: int
    since: float = 0.0


class Library(Protocol):
    """Whoever knows what stands behind a link. A dead link and an unknown one look the same."""

    def answer(self, token: str) -> AnswerView | None:
        """Return the answer behind `token` as it stands, or None."""
        ...

    def opened(self, token: str) -> None:
        """Note that the page behind `token` was asked for."""
        ...

    def changed(self, token: str) -> Deferred[None]:
        """Fire when the answer behind `token` is not what it was."""
        ...

    def durable(self) -> Deferred[None]:
        """Fire when all that was told so far is on record: before then nobody may be shown it."""
        ...

    def history(self, token: str, page: int, words: Sequence[str] = ()) -> HistoryView | None:
        """Return one page of the history behind `token`, counted from 1, or None.

        Of the turns that hold all of `words`, in whatever case, if there are any.
        """
        ...

    def whole_history(self, token: str) -> Sequence[Dialogue] | None:
        """Return the history behind `token`, oldest first, or None."""
        ...

    def erase(self, token: str) -> Deferred[bool]:
        """Erase the user whose history is behind `token`.

        Fires with whether there is one, once nothing is known of them any more.
        """
        ...


# The control socket.


class Control(Protocol):
    """Whoever can tell the operator how things are, and do what the operator says."""

    def ready(self) -> bool:
        """Tell whether the log is loaded: before that only `status` may be asked for."""
        ...

    def status(self) -> Mapping[str, object]:
        """Return the daemon's condition, ready for JSON."""
        ...

    def sessions(self) -> Sequence[Mapping[str, object]]:
        """Return the open sessions, ready for JSON."""
        ...

    def questions(self) -> Sequence[Mapping[str, object]]:
        """Return the questions that have no answer yet, the oldest first, ready for JSON."""
        ...

    def stop_session(self, session: str) -> Deferred[bool]:
        """End a session; fires with whether there was one, once that is durable."""
        ...

    def users(self, limit: int, standing: str) -> Sequence[Mapping[str, object]]:
        """Return users with their standing and what they asked for today, ready for JSON.

        Those who were heard of last come first, `limit` at most; of one `standing` if not empty.
        """
        ...

    def change_standing(
        self, account: str, openid: str, standing: str, for_s: float
    ) -> Deferred[bool]:
        """Block, allow or neither, for `for_s` seconds or (0) for good.

        Fires with whether there is that account, once it is durable.
        """
        ...

    def forget(self, account: str, openid: str) -> Deferred[bool]:
        """Erase a user; fires with whether anything was known, once nothing is any more."""
        ...

    def vacuum(self) -> Deferred[Mapping[str, object]]:
        """Take a snapshot and drop what is not to be kept; fires with that, ready for JSON."""
        ...

    def reload(self, given: tuple[str, Path] | None) -> Mapping[str, object]:
        """Take up another configuration: `given` as its text and where that is from, or read again.

        Returns what has `changed` and what `takes_restart`, as dotted keys; or the `faults` in
        it, and nothing has changed.
        """
        ...

    def try_push(self, account: str) -> Deferred[str] | None:
        """Find out whether WeChat's API can be used; fires with what is wrong, if anything is.

        None is for an account that pushes nothing.
        """
        ...

    def try_assistant(self, name: str) -> Deferred[Sequence[Mapping[str, object]] | None]:
        """Ask each model of an assistant for a single token; fires with what came of each.

        None is for an assistant that there is not.
        """
        ...
