"""Shell completion of option values, from the configuration, the daemon and the kinds of events.

A shell asks at every keystroke, so a failure yields no completions and no message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import click

from wxgpt import options
from wxgptd.errors import WxgptError

Offer = Callable[[click.Context, click.Parameter, str], list[str]]

PATIENCE_S = 1.0
MOST_USERS = 200


def _offering(known: Callable[[], Iterable[str]], *, several: bool = False) -> Offer:
    """Return a completer: the `known` values with the typed prefix; `several` splits at commas."""

    def offer(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        root = ctx.find_root()
        root.obj = root.obj or {"config": root.params.get("config_path")}
        before, comma, begun = incomplete.rpartition(",") if several else ("", "", incomplete)
        try:
            with ctx.scope():
                found = sorted(set(known()))
        except (WxgptError, OSError, KeyError, TypeError):
            return []
        return [f"{before}{comma}{one}" for one in found if one.startswith(begun)]

    return offer


def _accounts() -> Sequence[str]:
    from wxgptd.config import load_account_names

    return load_account_names(options.config_path())


def _sessions() -> Iterable[str]:
    return (one["session"] for one in _asked("/sessions"))


def _users() -> Iterable[str]:
    return (one["user"] for one in _asked(f"/users?n={MOST_USERS}"))


def _asked(path: str) -> Sequence[dict[str, str]]:
    from wxgpt import control

    status, said = control.request("GET", path, timeout_s=PATIENCE_S)
    return said if status == 200 else []


def _kinds() -> Iterable[str]:
    from wxgptd.eventlog.codec import KINDS

    return KINDS


account = _offering(_accounts)
accounts = _offering(_accounts, several=True)
session = _offering(_sessions)
sessions = _offering(_sessions, several=True)
user = _offering(_users)
users = _offering(_users, several=True)
kinds = _offering(_kinds, several=True)
