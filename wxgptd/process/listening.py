"""Listen on the daemon's own endpoint or on sockets from systemd, and on the admin socket.

A socket that systemd passes (`wxgptd.socket`) stays open while the daemon restarts: clients that
connect in the meantime wait instead of being refused.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.systemd import ListenFDs

from wxgptd import config
from wxgptd.errors import WxgptError
from wxgptd.process.site import BoundedSite
from wxgptd.untyped import Reactor, Wrapped

log = Logger(namespace="wxgptd")


BACKLOG = 1024
"""How many connections the kernel may queue. With Twisted's 50 it would drop those of a burst, and
a second passes before a client tries again."""


class ListenFailed(WxgptError):
    """the daemon cannot listen"""


class NoEndpoint(WxgptError):
    """not a server endpoint"""

    exit_status = 4


def endpoint(reactor: Reactor, key: str, described: str) -> IStreamServerEndpoint:
    """Resolve `described`, the value of the configuration key `key`, to an endpoint.

    Raises:
        NoEndpoint: it does not describe one.
    """
    queues = described.startswith(("tcp:", "tcp6:", "ssl:")) and ":backlog=" not in described
    try:
        server: IStreamServerEndpoint = serverFromString(
            reactor, f"{described}:backlog={BACKLOG}" if queues else described
        )
        return server
    except Exception as error:  # noqa: BLE001 (endpoint plugins can raise anything)
        why = " ".join(str(error).split()) or type(error).__name__
        raise NoEndpoint(f'{key}: "{described}" is not a server endpoint: {why}') from None


def passed_sockets() -> Sequence[int]:
    """Return the descriptors of the sockets that systemd passed to this process."""
    # Twisted removes the variables from `os.environ` when its endpoints are imported.
    try:
        initial = Path("/proc/self/environ").read_bytes()
    except OSError:
        return ()  # not Linux, so no systemd
    pairs = (pair.partition("=") for pair in os.fsdecode(initial).split("\0") if "=" in pair)
    environ = {name: value for name, _, value in pairs if name.startswith("LISTEN_")}
    count = environ.get("LISTEN_FDS", "")
    if re.fullmatch(r"[0-9]{1,4}", count):  # systemd may omit the names; Twisted needs them
        environ.setdefault("LISTEN_FDNAMES", ":".join(["unknown"] * int(count)))
    return ListenFDs.fromEnvironment(environ).inheritedDescriptors()


async def listen(reactor: Reactor, described: str, site: BoundedSite) -> Sequence[IListeningPort]:
    """Listen on the sockets that systemd passed or, if there are none, on the endpoint `described`.

    Raises:
        NoEndpoint: `described` does not describe an endpoint.
        ListenFailed: the daemon cannot listen there.
    """
    passed = passed_sockets()
    if passed:
        ports = [await _adopt(reactor, descriptor, site) for descriptor in passed]
        addresses = ", ".join(where(port) for port in ports)
        log.info("listening on {where}, passed by systemd", id="listening", where=addresses)
        if not described.startswith("systemd:") and not any(_is(port, described) for port in ports):
            log.warn(
                "server.listen = {described} is ignored: systemd passes {where} "
                "(ListenStream= in wxgptd.socket)",
                id="listen-ignored",
                described=described,
                where=addresses,
            )
        return ports
    if described.startswith("systemd:"):
        raise ListenFailed(
            f"server.listen is {described}, but systemd passed no socket",
            hint="start it with `systemctl start wxgptd.socket`, or set server.listen to an "
            "address such as tcp:9005:interface=127.0.0.1",
        )
    return [await listen_at(reactor, "server.listen", described, site)]


async def listen_at(
    reactor: Reactor,
    key: str,
    described: str,
    site: BoundedSite,
) -> IListeningPort:
    """Listen on the endpoint `described`, the value of the configuration key `key`.

    Raises:
        NoEndpoint: `described` does not describe an endpoint.
        ListenFailed: the daemon cannot listen there.
    """
    server = endpoint(reactor, key, described)
    try:
        port: IListeningPort = await server.listen(site)
    except Exception as error:  # noqa: BLE001 (paths and certificates can be wrong in many ways)
        why = getattr(error, "socketError", error)
        raise ListenFailed(
            f"cannot listen on {described}: {plainly(why)}", hint=_hint(why, key)
        ) from None
    return port


async def _adopt(reactor: Reactor, descriptor: int, site: BoundedSite) -> IListeningPort:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as passed:
            family = passed.family
            if not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ListenFailed(
                    "the socket passed by systemd does not listen for connections",
                    hint="declare it with ListenStream= in wxgptd.socket",
                )
        adopted = AdoptedStreamServerEndpoint(reactor, descriptor, family)
        port: IListeningPort = await adopted.listen(site)
    except OSError as error:
        raise ListenFailed(
            f"cannot use the socket passed by systemd: {plainly(error)}",
            hint="check ListenStream= in wxgptd.socket",
        ) from None
    return port


def where(port: IListeningPort) -> str:
    """Return the address that a port listens on, in readable form."""
    address = port.getHost()
    host = getattr(address, "host", None)
    if host is not None:
        return f"{host}:{address.port}"  # type: ignore[attr-defined]
    name = getattr(address, "name", None) or b"an unnamed socket"
    return os.fsdecode(name)


def _is(port: IListeningPort, described: str) -> bool:
    """Return whether a port appears to be the TCP endpoint that the operator configured."""
    number = str(getattr(port.getHost(), "port", ""))
    return number in described.removeprefix("tcp:").removeprefix("port=").split(":")[:1]


def listen_for_operator(reactor: Reactor, path: Path, site: BoundedSite) -> Wrapped:
    """Listen on the admin socket at `path`, which only the daemon's own user may open.

    Raises:
        ListenFailed: the daemon cannot listen there, or another daemon already does.
    """
    if path.is_socket():
        if _accepts_connections(path):
            raise ListenFailed(
                f"another daemon is already listening on the admin socket {path}",
                hint="give each daemon its own [server] admin or state_dir",
            )
        path.unlink()
    try:
        return reactor.listenUNIX(str(path), site, mode=0o600)
    except (CannotListenError, OSError) as error:
        why = getattr(error, "socketError", error)
        raise ListenFailed(
            f"cannot listen on the admin socket {path}: {plainly(why)}",
            hint='set [server] admin = "unix:PATH" to a shorter path in a writable directory',
        ) from None


def _hint(why: object, key: str) -> str:
    if isinstance(why, PermissionError):
        return "ports below 1024 require root: keep 9005, and put nginx or Caddy in front"
    return f"stop the process that uses the port, or set [{key.replace('.', '] ')} to another one"


def _accepts_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def plainly(error: object) -> str:
    """Return what went wrong, preferably as the system's error message."""
    return getattr(error, "strerror", None) or str(error)


def check_endpoints(reactor: Reactor, path: Path, configured: config.Config) -> None:
    """Check that the configuration describes valid endpoints.

    Raises:
        ConfigError: a value does not describe an endpoint.
    """
    server = configured.server
    try:
        if not server.listen.startswith("systemd:"):
            endpoint(reactor, "server.listen", server.listen)
        if server.metrics:
            endpoint(reactor, "server.metrics", server.metrics)
    except WxgptError as error:
        raise config.ConfigError(path, [str(error)]) from None
