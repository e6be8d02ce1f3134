"""Which daemon a server is: the one of a state directory, another one, or none of ours."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from wxgpt.failures import Unreachable
from wxgptd.eventlog import segments
from wxgptd.pages import links

PATIENCE_S = 5.0


def asked(url: str) -> str | None:
    """Return what the server at `url` calls itself, or None where it does not say.

    The webhook itself says it, too: a proxy need not pass anything else.

    Raises:
        Unreachable: nothing listens there.
    """
    parts = urlsplit(url)
    return _asked(parts, "/healthz") or _asked(parts, parts.path or "/")


def _asked(parts: SplitResult, path: str) -> str | None:
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().getheader("X-Wxgptd")
    except ConnectionRefusedError:
        raise Unreachable(
            f"nothing is listening at {parts.geturl()}", hint="start the target daemon"
        ) from None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def own(state_dir: Path) -> str | None:
    """Return what the daemon of `state_dir` calls itself, or None if that cannot be told."""
    try:
        return links.instance_name((segments.keys_directory(state_dir) / "links").read_bytes())
    except OSError:
        return None
