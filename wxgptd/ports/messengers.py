"""Sending messages to users outside of a reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from wxgptd.domain.model.values import OpenId


@dataclass(frozen=True, slots=True)
class Delivered:
    """WeChat accepted the message."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """WeChat did not accept the message, or the outcome is unknown; `code` is WeChat's, or 0."""

    code: int
    detail: str


class Messenger(Protocol):
    """Sends customer-service messages for an account."""

    @property
    def state(self) -> str:
        """The messenger's state in a few words, for the operator; `on` if all is well."""
        ...

    def probe(self) -> Deferred[str]:
        """Request a token from WeChat; fires with the error, or an empty string."""
        ...

    def usable(self) -> bool:
        """Return whether sending is worth trying, as far as is known."""
        ...

    def send(
        self, openid: OpenId, text: str, wanted: Callable[[], bool], *, generated: bool
    ) -> Deferred[Delivered | Undelivered]:
        """Send `text` to a user, at most once.

        Preparing to send may take a while; `text` is sent only if it is still `wanted` by then.
        Text `generated` by a model is labelled as such.
        """
        ...

    def show_typing(self, openid: OpenId, *, on: bool) -> Deferred[None]:
        """Show or hide the typing indicator. Best effort."""
        ...
