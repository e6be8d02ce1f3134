"""Chat models, and fetching the pictures that questions are about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from wxgptd.domain.model.values import FailureReason, Finish
from wxgptd.domain.prompt.context import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A complete answer. Tokens are as reported by the server, or 0 if it did not report them.

    `withdrawn` is whether text that was passed on had to be withdrawn, because it turned out to be
    thoughts.
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
class ModelFailure:
    """No complete answer: `text` is the part that arrived, `detail` the reason.

    A detail may quote the user's words and belongs only in the user's events; `summary` is the part
    of it that may be logged.

    `context_limit` is the number of tokens that the server accepts, if it reported that.
    """

    reason: FailureReason
    text: str
    detail: str
    retry_after_s: float = 0.0
    context_limit: int = 0
    summary: str = ""

    @property
    def logged(self) -> str:
        """The detail, in the form that may be logged."""
        return self.summary or self.detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request to a model.

    `model` overrides the configured one, if not empty. A retry, if it can help, may start within
    `retry_for_s` seconds. If no sign of an answer (or of thinking) appears within
    `first_token_within_s` seconds, the request is abandoned; 0 means no limit. A `probe` only
    checks whether the server answers: a single token, or none, is enough. `asker` distinguishes
    users. The answer has at most `max_tokens` tokens; 0 means the configured maximum.
    """

    messages: Sequence[Message]
    model: str = ""
    retry_for_s: float = 0.0
    first_token_within_s: float = 0.0
    probe: bool = False
    asker: int = 0
    max_tokens: int = 0

    @property
    def words(self) -> str:
        """The text of all messages, which a server might quote in an error."""
        return "\n".join(message.content for message in self.messages)


def ignore(_piece: str) -> None:
    """Discard a piece of text."""


class ChatModel(Protocol):
    """Writes answers."""

    def ask(
        self,
        prompt: Prompt,
        on_text: Callable[[str], None],
        on_thought: Callable[[str], None] = ignore,
        on_withdrawn: Callable[[], None] = lambda: None,
    ) -> Deferred[Completion | ModelFailure]:
        """Ask for an answer to `prompt`; `on_text` is called with each piece of it.

        The joined pieces are the answer's text, except for those before a call to `on_withdrawn`,
        which turned out to be thoughts. `on_thought` receives the model's thoughts, which are not
        part of the answer. Cancelling ends the call.
        """
        ...

    def circuit_open(self) -> bool:
        """Return whether the circuit breaker is open because of earlier failures."""
        ...

    def last_failure(self) -> str:
        """Return why the last call failed and how long ago, or an empty string if it did not.

        It contains nothing that a user wrote.
        """
        ...

    def condition(self) -> str:
        """Return the server's condition in words, as far as is known; `ok` if all is well."""
        ...


class Pictures(Protocol):
    """Fetches the pictures that users send."""

    @property
    def largest(self) -> int:
        """The maximum length of a picture as a data URL, in characters."""
        ...

    def fetch(self, url: str) -> Deferred[str | None]:
        """Fire with the picture at `url` as a data URL, or with None if it cannot be fetched."""
        ...
