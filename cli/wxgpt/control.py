"""Talk to a running daemon through its admin socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote, urlencode

import click

from wxgpt import options
from wxgpt.failures import Forbidden, Unreachable, UsageFailure
from wxgpt.language import spoken
from wxgpt.matching import not_unique
from wxgptd.errors import WxgptError
from wxgptd.untyped import Json, Result
from wxgptd.wording import say, say_number

TIMEOUT_S = 5.0
NAMES_TIMEOUT_S = 1.0
MOST_USERS = 100
SYSTEM_SOCKET = Path("/var/lib/wxgptd/admin.sock")
"""Where the unit's daemon is, with the configuration that `wxgpt init` writes."""

MAX_CONFIGURATION_BYTES = 4 * 1024 * 1024
"""The daemon rejects larger bodies."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("wxgptd", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(
    method: str,
    path: str,
    body: bytes | None = None,
    timeout_s: float = TIMEOUT_S,
    socket_path: Path | None = None,
) -> tuple[int, Result]:
    """Send the daemon a request; return the status and the parsed JSON of its response.

    Raises:
        Unreachable: no daemon is running, or this user may not connect to it.
        DaemonFailed: the daemon could not carry out the request.
    """
    socket_path = socket_path or _admin_socket()
    connection = _Connection(socket_path, timeout_s)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        result = json.loads(response.read() or b"null")
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unreachable(
            say("no daemon at {socket_path}", socket_path=socket_path),
            hint=_how_to_start(),
        ) from None
    except PermissionError:
        raise Forbidden(
            say("permission denied: admin socket {socket_path}", socket_path=socket_path),
            hint=say("run wxgpt as the daemon's user, or with sudo"),
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(
            say(
                "the daemon at {socket_path} does not answer: {error}",
                socket_path=socket_path,
                error=error,
            )
        ) from None
    finally:
        connection.close()
    if response.status == 500 and result:
        raise DaemonFailed(result["error"], hint=result["hint"])
    return response.status, result


def _how_to_start() -> str:
    """Return how to start the daemon; systemd may be waiting for a message to do it."""
    import shutil
    import subprocess

    start = say("start it: systemctl start wxgptd (without systemd: wxgptd --config FILE)")
    systemctl = shutil.which("systemctl")
    if systemctl is None or options.config_path() != options.SYSTEM_CONFIG:
        return start
    asked = [systemctl, "is-active", "--quiet", "wxgptd.socket"]
    waiting = subprocess.run(asked, check=False, stderr=subprocess.DEVNULL)
    if waiting.returncode:
        return start
    return say(
        "{start}\n  (the next message starts it, too; to stop it for good: systemctl stop "
        "wxgptd.socket wxgptd)",
        start=start,
    )


def _admin_socket() -> Path:
    """Return the daemon's admin socket.

    If the configuration has a mistake in it, that of the unit, whose daemon runs on with the
    earlier one.

    Raises:
        ConfigError: the configuration is not valid, and there is no such socket.
    """
    from wxgptd.config import ConfigError

    try:
        return options.load_server().admin_socket
    except ConfigError as error:
        if options.config_path() != options.SYSTEM_CONFIG or not SYSTEM_SOCKET.exists():
            raise
        click.echo(
            spoken("{path}: {why}", path=options.config_path(), why=error.faults[0]), err=True
        )
        click.echo(spoken("the daemon runs on with the earlier configuration"), err=True)
        return SYSTEM_SOCKET


def require_ready(status: int) -> None:
    """Ensure that the daemon carried out the request.

    Raises:
        Unreachable: it is still starting, or failed.
        Standby: another node of the cluster leads.
    """
    if status == 409:
        leader = cluster_leader()
        raise Standby(
            say("this node is a standby; {leader} leads", leader=leader)
            if leader
            else say("no node leads at the moment"),
            hint=say("run the command on {leader}", leader=leader)
            if leader
            else say("see `wxgpt cluster status`"),
        )
    if status == 503:
        raise Unreachable(
            say("the daemon is still starting"), hint=say("try again in a few seconds")
        )
    if status >= 500:
        raise Unreachable(
            say("the daemon failed: HTTP {status}", status=status),
            hint=say("see its log: journalctl -u wxgptd"),
        )


class Standby(WxgptError):
    """another node of the cluster leads"""


def cluster_leader() -> str:
    """Return the name of the node that leads the cluster, or an empty string."""
    status, summary = request("GET", "/cluster")
    return str(summary["leader"]) if status == 200 else ""


class DaemonFailed(WxgptError):
    """the daemon could not carry out the request"""


class UnknownUser(WxgptError):
    """unknown user"""


def unknown(account: str, openid: str) -> UnknownUser:
    """Return the error for an unknown user."""
    return UnknownUser(
        say("unknown user: {account}/{openid}", account=account, openid=openid),
        hint=say("list the users: wxgpt users list"),
    )


def unknown_users(given: Collection[str]) -> UnknownUser:
    """Return the error for users who are not in the log."""
    names = ", ".join(sorted(given))
    return UnknownUser(
        say_number(len(given), "unknown user: {names}", "unknown users: {names}", names=names),
        hint=say("list the users: wxgpt users list"),
    )


def find_user(account: str, given: str) -> str:
    """Return the OpenID of the user whom the daemon has seen: the beginning of it, or of a name.

    Raises:
        UnknownUser: there is none.
        NotUnique: there are several.
        Unreachable: the daemon cannot be reached.
    """
    given = given.strip().removesuffix("…")
    if not given:
        raise UsageFailure(say("a user is missing"), hint=say("list the users: wxgpt users list"))
    status, _ = request("GET", f"/users/{quote(account, safe='')}/{quote(given, safe='')}")
    require_ready(status)
    if status == 200:
        return given
    wanted = {"account": account, "beginning": given, "n": MOST_USERS}
    _, found = request("GET", f"/users?{urlencode(wanted)}")
    exact = [user for user in found if user.get("name") == given]
    if len(exact) == 1 and not any(user["user"].startswith(given) for user in found):
        return str(exact[0]["user"])
    if len(found) > 1:
        names = [f"{user['user']} {user.get('name', '')}".rstrip() for user in found]
        raise not_unique(given, sorted(names))
    if not found:
        raise unknown(account, given)
    return str(found[0]["user"])


def names() -> dict[str, str]:
    """Return the names that the operator gave users, by `ACCOUNT/OPENID`; none without a daemon."""
    try:
        status, found = request("GET", "/users?names=1", timeout_s=NAMES_TIMEOUT_S)
    except WxgptError:
        return {}
    return found if status == 200 and isinstance(found, dict) else {}


def reload(path: Path, text: str, *, dry: bool = False, socket_path: Path | None = None) -> Json:
    """Send the daemon a configuration; return the changes (made, or only planned) or `faults`.

    Raises:
        UsageFailure: the configuration is too large.
        Unreachable: the daemon cannot be reached, or cannot handle the request.
    """
    target = f"/reload?path={quote(os.fsencode(path))}&mode={path.stat().st_mode & 0o777:o}"
    body = text.encode()
    if len(body) > MAX_CONFIGURATION_BYTES:
        raise UsageFailure(
            say(
                "{path} is larger than {max_configuration_bytes} MiB, too large to reload",
                path=path,
                max_configuration_bytes=MAX_CONFIGURATION_BYTES >> 20,
            ),
            hint=say("restart the daemon: systemctl restart wxgptd"),
        )
    status, result = request(
        "POST", f"{target}&dry=1" if dry else target, body, socket_path=socket_path
    )
    require_ready(status)
    if status not in (200, 400) or not isinstance(result, dict):
        raise Unreachable(
            say("unexpected response from the daemon: HTTP {status}", status=status),
            hint=say("it may be an older version; restart it: systemctl restart wxgptd"),
        )
    return result
