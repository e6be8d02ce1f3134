"""Whoever sends messages to users that they did not just ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from wxgptd.domain.model.values import OpenId


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
        self, openid: OpenId, text: str, wanted: Callable[[], bool], *, generated: bool
    ) -> Deferred[Delivered | Undelivered]:
        """Send `text` to a user; never more than once, as far as can be told.

        Whatever has to come first may take a while: it is sent if it is still `wanted` then. What
        is `generated` by a model is labelled as such.
        """
        ...

    def show_typing(self, openid: OpenId, *, on: bool) -> Deferred[None]:
        """Show or hide the typing indicator. Best effort."""
        ...
