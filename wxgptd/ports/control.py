"""Whoever can tell the operator how things are, and do what the operator says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred


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

    def knows(self, account: str, openid: str) -> bool:
        """Tell whether anything is known of a user."""
        ...

    def whose(self, account: str, openid: str, text: str, *, kind: str, tapped: bool) -> str | None:
        """Return who would handle a message of a user that came now: a name, see `routing`.

        None is for an account that is not configured.
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

    def reload(
        self, given: tuple[str, Path, int] | None, *, dry: bool = False
    ) -> Mapping[str, object]:
        """Take up another configuration: `given` (text, path and mode of a file), or read again.

        Returns what has `changed` and what `takes_restart`, as dotted keys; or the `faults` in
        it, and nothing has changed. If `dry`, nothing changes in any case.
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
