"""Check the path from WeChat to the daemon: port, web server, certificate, webhooks, clock."""

from __future__ import annotations

import contextlib
import http.client
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

from wxgpt import listening
from wxgpt.diagnosis import machine
from wxgpt.diagnosis.finding import MAX_SKEW_S, Finding, failed, notice, passed, skipped
from wxgptd.errors import WxgptError
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgptd.config import Account, Config

PATIENCE_S = 10.0
CERTIFICATE_DAYS = 14
NO_CERTIFICATE = ("TLSV1_ALERT_INTERNAL_ERROR", "TLSV1_UNRECOGNIZED_NAME")
"""What OpenSSL says if the server has no certificate for the name."""


class Unanswered(WxgptError):
    """no response"""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.fix = fix


class Answer(NamedTuple):
    """A response. `days` is the number of days the certificate remains valid, None without TLS."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    days: float | None


def get(url: str, patience_s: float = PATIENCE_S) -> Answer:
    """GET `url` without following redirects, within `patience_s` seconds of connecting.

    Raises:
        Unanswered: there was no response; `fix` is the id of the remedy.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=patience_s)
    cut: list[bool] = []
    sockets: list[socket.socket] = []  # http.client lets go of it while it reads to the end
    deadline = threading.Timer(patience_s, _cut_off, (sockets, cut))
    deadline.daemon = True
    why = say("no complete response within {patience_s:g} s", patience_s=patience_s)
    timeout = Unanswered(why, "port-filtered")
    try:
        connection.connect()
        sockets.append(connection.sock)
        deadline.start()
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        connection.request("GET", path, headers={"User-Agent": "wxgpt doctor"})
        sock = connection.sock
        peer = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
        with connection.getresponse() as response:
            answer = Answer(response.status, response.headers, response.read(65_536), _days(peer))
        if cut:
            raise timeout
        return answer
    except ssl.SSLError as error:
        raise _tls_failure(error) from None
    except TimeoutError:
        raise timeout from None
    except ConnectionRefusedError:
        raise Unanswered(say("connection refused"), "connection-refused") from None
    except socket.gaierror as error:
        raise Unanswered(
            say("the name does not resolve here ({strerror})", strerror=error.strerror),
            "name-unresolved",
        ) from None
    except OSError as error:
        if cut:
            raise timeout from None
        raise Unanswered(str(error.strerror or error), "unreachable") from None
    except http.client.HTTPException as error:
        if cut:
            raise timeout from None
        error_name = type(error).__name__
        raise Unanswered(
            say("not an HTTP server ({error_name})", error_name=error_name), "not-http"
        ) from None
    except UnicodeError:
        raise Unanswered(say("not a valid host name"), "name-invalid") from None
    finally:
        deadline.cancel()
        connection.close()
        for sock in sockets:
            sock.close()


def _tls_failure(error: ssl.SSLError) -> Unanswered:
    """Return why a TLS connection could not be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message
        why = say("invalid certificate: {verify_message}", verify_message=message)
        return Unanswered(why, "certificate-invalid")
    if error.reason in NO_CERTIFICATE:
        why = say("the web server has no certificate for this name")
        return Unanswered(why, "certificate-missing")
    return Unanswered(say("not a TLS server: {reason}", reason=error.reason), "not-tls")


def _cut_off(sockets: list[socket.socket], cut: list[bool]) -> None:
    """Abort an exchange that takes too long: a socket timeout covers only a single read."""
    cut.append(True)
    for sock in sockets:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _days(peer: object) -> float | None:
    if not isinstance(peer, dict) or "notAfter" not in peer:
        return None
    return (ssl.cert_time_to_seconds(str(peer["notAfter"])) - time.time()) / 86_400


def _words(answer: Answer) -> str:
    """Return the start of a response's body, for display."""
    return " ".join(answer.body[:200].decode("utf-8", "replace").split())


def _location(answer: Answer) -> str:
    """Return the target of a redirect, without the query, which contains our signature."""
    return str(answer.headers.get("Location", "elsewhere")).split("?", maxsplit=1)[0][:200]


def port(config: Config, *, running: bool) -> Iterator[Finding]:
    """Check that the daemon responds at the address it listens on.

    If it is not `running`, only another program there is worth a finding of its own.
    """
    passed_address = machine.passed_socket()
    match = re.match(r"tcp:(?:port=)?(\d+)", config.server.listen)
    if passed_address:
        url = f"http://{passed_address.replace('0.0.0.0', '127.0.0.1')}/healthz"  # noqa: S104
    elif match is not None:
        host = re.search(r"interface=([0-9.]+)", config.server.listen)
        address = host.group(1) if host and host.group(1) != "0.0.0.0" else "127.0.0.1"  # noqa: S104
        url = f"http://{address}:{match.group(1)}/healthz"
    else:
        yield skipped(
            "port",
            say("{listen}: reachable only through the web server", listen=config.server.listen),
        )
        return
    try:
        answer = get(url)
    except Unanswered as error:
        if not running:
            yield skipped("port", say("not checked: the daemon is not running"))
        else:
            yield failed("port", say("{url}: {error}", url=url, error=error), "daemon-unreachable")
        return
    if answer.body == b"ok\n":
        yield passed("port", say("{url} answers", url=url))
    elif answer.status == 503:
        yield failed("port", f"{url}: {_words(answer)}", "daemon-unhealthy")
    else:
        holder = listening.holder_of(urlsplit(url).port or 0)
        what = (
            say("{url} is answered by {holder}", url=url, holder=holder)
            if holder not in (None, "?")
            else say("{url} is answered by another program", url=url)
        )
        yield failed("port", what, "port-taken")


def public(config: Config, *, running: bool) -> Iterator[Finding]:
    """Check the public address (reachable, valid certificate, no redirect) and each webhook.

    On this machine nothing answers there unless the daemon is `running`.
    """
    base = config.server.public_url.rstrip("/")
    try:
        answer = get(f"{base}/healthz")
    except Unanswered as error:
        host = urlsplit(base).hostname or ""
        if not running and (host == "localhost" or host.startswith("127.")):
            yield skipped("public address", say("not checked: the daemon is not running"))
            return
        yield failed("public address", say("{base}: {error}", base=base, error=error), error.fix)
        yield from _web_server(base, error.fix)
        return
    yield from _certificate(base, answer)
    if 300 <= answer.status < 400:
        target = _location(answer)
        detail = say("{base}/healthz is redirected to {target}", base=base, target=target)
        yield failed("public address", detail, "address-redirected")
        return
    if answer.body != b"ok\n":
        detail = say(
            "{base}/healthz is not answered by wxgptd (HTTP {status})",
            base=base,
            status=answer.status,
        )
        yield failed("public address", detail, "address-not-forwarded")
        return
    yield passed("public address", say("{base} reaches this daemon", base=base))
    for name, account in config.account.items():
        yield _webhook(base, name, account)


def _web_server(base: str, fix: str) -> Iterator[Finding]:
    """Note that no web server runs here; it may be meant to run elsewhere."""
    parts = urlsplit(base)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if fix == "name-unresolved" and listening.holder_of(port) is None:
        what = say("nothing listens on port {port} of this machine", port=port)
        yield notice("web server", what, "web-server-stopped")


def _certificate(base: str, answer: Answer) -> Iterator[Finding]:
    if answer.days is None:
        yield skipped("certificate", say("{base} is not https", base=base))
    elif answer.days < CERTIFICATE_DAYS:
        yield failed(
            "certificate",
            say("expires in {days:.0f} days", days=answer.days),
            "certificate-expiring",
        )
    else:
        yield passed("certificate", say("valid for {days:.0f} days", days=answer.days))


def _webhook(base: str, name: str, account: Account) -> Finding:
    """Verify the URL as WeChat's backend does, through any proxies in front of the daemon."""
    from wxgptd.config import UnavailableSecret, webhook_path
    from wxgptd.wechat import signature

    check = say("webhook {name}", name=name)
    if isinstance(account.token, UnavailableSecret):
        return skipped(check, say("only the daemon can read its token (credential:)"))
    url = f"{base}{webhook_path(name, account)}"
    stamp, nonce, echo = str(int(time.time())), secrets.token_hex(8), secrets.token_hex(12)
    signed = signature.sign(account.token.reveal(), stamp, nonce)
    query = {"signature": signed, "timestamp": stamp, "nonce": nonce, "echostr": echo}
    try:
        answer = get(f"{url}?{urlencode(query)}")
    except Unanswered as error:
        return failed(check, say("{url}: {error}", url=url, error=error), error.fix)
    if answer.status == 200 and answer.body == echo.encode():
        return passed(check, say("{url} passes WeChat's verification", url=url))
    if 300 <= answer.status < 400:
        return failed(
            check,
            say("{url} is redirected to {location}", url=url, location=_location(answer)),
            "webhook-redirected",
        )
    if answer.status == 403:
        detail = _words(answer) or "rejected"
        return failed(check, say("{url}: {detail}", url=url, detail=detail), "webhook-rejected")
    detail = f"{url}: HTTP {answer.status}, but the response does not echo the test string"
    return failed(check, detail, "webhook-not-forwarded")


def clock(config: Config) -> Iterator[Finding]:
    """Compare this machine's clock with the first remote model server that sends a Date header."""
    for assistant in config.assistant.values():
        host = urlsplit(assistant.base_url)
        if host.hostname in ("localhost", "127.0.0.1", "::1"):
            continue
        before = time.time()
        try:
            answer = get(f"{host.scheme}://{host.netloc}/")
            server_time = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (Unanswered, TypeError, ValueError):
            continue
        skew_s = (before + time.time()) / 2 - server_time
        shown = (
            say("{s:.0f} s ahead of {host}", s=skew_s, host=host.hostname)
            if skew_s > 0
            else say("{host} is {s:.0f} s ahead", s=-skew_s, host=host.hostname)
        )
        if abs(skew_s) > MAX_SKEW_S:
            yield failed("clock", shown, "clock-skew", skew_s=round(skew_s))
        else:
            yield passed("clock", shown, skew_s=round(skew_s))
        return
    yield skipped("clock", say("no remote server to compare with (nothing to do)"))
