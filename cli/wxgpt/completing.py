"""Shell completion of option values, from the configuration, the daemon and the kinds of events.

Completion must not disturb the prompt, so a failure yields no completions and no message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import click

from wxgpt import options
from wxgptd.errors import WxgptError

Offer = Callable[[click.Context, click.Parameter, str], list[str]]

PATIENCE_S = 1.0
MAX_USERS = 200


def _completer(values: Callable[[], Iterable[str]], *, several: bool = False) -> Offer:
    """Return a completer that offers the `values` that start with what has been typed.

    `several` completes the last item of a comma-separated list.
    """

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        root = ctx.find_root()
        root.obj = root.obj or {"config": root.params.get("config_path")}
        previous, comma, prefix = incomplete.rpartition(",") if several else ("", "", incomplete)
        try:
            with ctx.scope():
                candidates = sorted(set(values()))
        except (WxgptError, OSError, KeyError, TypeError):
            return []
        return [f"{previous}{comma}{value}" for value in candidates if value.startswith(prefix)]

    return complete


def _accounts() -> Sequence[str]:
    from wxgptd.config import load_account_names

    return load_account_names(options.config_path())


def _sessions() -> Iterable[str]:
    return (row["session"] for row in _fetch("/sessions"))


def _users() -> Iterable[str]:
    return (row["user"] for row in _fetch(f"/users?n={MAX_USERS}"))


def _fetch(path: str) -> Sequence[dict[str, str]]:
    from wxgpt import control

    status, rows = control.request("GET", path, timeout_s=PATIENCE_S)
    return rows if status == 200 else []


def _kinds() -> Iterable[str]:
    from wxgptd.eventlog.codec import KINDS

    return KINDS


account = _completer(_accounts)
accounts = _completer(_accounts, several=True)
session = _completer(_sessions)
sessions = _completer(_sessions, several=True)
user = _completer(_users)
users = _completer(_users, several=True)
kinds = _completer(_kinds, several=True)
