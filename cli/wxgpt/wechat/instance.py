"""Identify the daemon at a URL: a state directory's own, another one, or not wxgptd."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from wxgpt.failures import Unreachable
from wxgptd.eventlog import segments
from wxgptd.pages import links
from wxgptd.wording import say

PATIENCE_S = 5.0


def asked(url: str) -> str | None:
    """Return the instance name of the daemon at `url`, or None if the server does not send one.

    Also try the webhook: a proxy may forward nothing else.

    Raises:
        Unreachable: nothing is listening there.
    """
    parts = urlsplit(url)
    return _instance_header(parts, "/healthz") or _instance_header(parts, parts.path or "/")


def _instance_header(parts: SplitResult, path: str) -> str | None:
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().getheader("X-Wxgptd")
    except ConnectionRefusedError:
        raise Unreachable(
            say("nothing is listening at {url}", url=parts.geturl()),
            hint=say("start the target daemon"),
        ) from None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def own(state_dir: Path) -> str | None:
    """Return the instance name of the daemon that uses `state_dir`, or None if it is unreadable."""
    try:
        return links.instance_name((segments.keys_directory(state_dir) / "links").read_bytes())
    except OSError:
        return None
