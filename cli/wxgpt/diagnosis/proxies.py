"""Proxies in the environment, which other programs use but wxgptd ignores."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wxgpt.diagnosis.finding import Finding, notice
from wxgpt.diagnosis.remedies import remedy

if TYPE_CHECKING:
    from wxgptd.config import Config

_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def proxies(config: Config) -> Iterator[Finding]:
    """Report variables that name a proxy, if some remote assistant has no proxy of its own.

    The daemon reads none of them: under systemd it does not even inherit them, and a variable that
    happens to be set in a shell must not decide how users' questions are routed.
    """
    names = [name for pair in _VARIABLES for name in (pair, pair.lower()) if os.environ.get(name)]
    direct = [
        name
        for name, assistant in config.assistant.items()
        if not assistant.proxy and urlsplit(assistant.base_url).hostname not in _HERE
    ]
    if not names or not direct:
        return
    value = os.environ[names[0]]
    address = re.sub(r"^https?://", "", value.rpartition("@")[2], flags=re.IGNORECASE).rstrip("/")
    fix = remedy("proxy-unused", assistant=direct[0], address=address)
    if value.lower().startswith("socks"):
        fix = remedy("proxy-socks")
    yield notice(
        "proxy",
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} set in the environment, but "
        f"wxgptd ignores {'it' if len(names) == 1 else 'them'}: "
        + (f"assistant {direct[0]} has" if len(direct) == 1 else f"{', '.join(direct)} have")
        + " no proxy",
        fix,
        variables=names,
    )
