"""Whoever writes answers, and gets the pictures that they are about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from wxgptd.domain.model.values import FailureReason, Finish
from wxgptd.domain.prompt.context import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer. Tokens are as the server reported them, 0 where it did not.

    `withdrawn` tells whether text that was told of was taken back: it was thoughts.
    """

    text: str
    finish: Finish
    model: str
    prompt_tokens: int
    completion_tokens: int
    first_text_s: float
    took_s: float
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """No whole answer: `text` is as far as it came, `detail` is why.

    A detail may quote the user's words, and belongs into the user's events alone; `summary` is as
    much of it as may be logged.

    `context_limit` is how many tokens the server says that it takes, where it says that.
    """

    reason: FailureReason
    text: str
    detail: str
    retry_after_s: float = 0.0
    context_limit: int = 0
    summary: str = ""

    @property
    def logged(self) -> str:
        """The detail as it may be logged."""
        return self.summary or self.detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model is asked.

    `model` is another one than the configured one, if not empty. Where asking again can help,
    that may begin within `retry_for_s` seconds. If there is no sign of an answer (or of
    thinking) within `first_token_within_s` seconds, it is given up; 0 is as long as it takes.
    A `probe` wants to know whether anybody answers: a single token will do, or none. `asker`
    tells one user from another.
    """

    messages: Sequence[Message]
    model: str = ""
    retry_for_s: float = 0.0
    first_token_within_s: float = 0.0
    probe: bool = False
    asker: int = 0

    @property
    def words(self) -> str:
        """All that a server could quote of it."""
        return "\n".join(message.content for message in self.messages)


def ignore(_piece: str) -> None:
    """Take a piece of text, and do nothing with it."""


class ChatModel(Protocol):
    """Whoever writes answers."""

    def ask(
        self,
        prompt: Prompt,
        on_text: Callable[[str], None],
        on_thought: Callable[[str], None] = ignore,
        on_withdrawn: Callable[[], None] = lambda: None,
    ) -> Deferred[Completion | Breakdown]:
        """Have `prompt` answered; `on_text` is called with each piece of the answer.

        The pieces joined are the answer's text; those before `on_withdrawn` is called are not, it
        turned out that they were thoughts. `on_thought` gets what the model thinks, which is no
        part of it. Cancelling ends the call.
        """
        ...

    def circuit_open(self) -> bool:
        """Tell whether nobody is asked, because of failures before."""
        ...

    def last_failure(self) -> str:
        """Return why the last call failed, and how long ago; empty if it did not fail.

        Nothing of what a user wrote is in it.
        """
        ...

    def condition(self) -> str:
        """Return how the server does as far as is known, in words; `ok` if all is well."""
        ...


class Pictures(Protocol):
    """Whoever can get the pictures that users send."""

    @property
    def largest(self) -> int:
        """How many characters a picture has at most as a data URL."""
        ...

    def fetch(self, url: str) -> Deferred[str | None]:
        """Fire with the picture at `url` as a data URL, or with None if it cannot be had."""
        ...
