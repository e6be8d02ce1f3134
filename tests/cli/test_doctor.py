"""`wxgpt doctor`, beyond the golden outputs."""

from __future__ import annotations

import ast
import contextlib
import os
import socket
import ssl
import threading
from pathlib import Path

import pytest

from tests.support.dripping import dripping
from tests.support.field import FIELD
from wxgpt import diagnosis
from wxgpt.diagnosis import configuration, models, reach, remedies
from wxgpt.diagnosis.proxies import proxies
from wxgptd import config as cfg
from wxgptd.config.tables import Assistant
from wxgptd.config.values import Secret

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(diagnosis.__file__).parent
CODE = [*FOLDER.glob("*.py"), FOLDER.parent / "commands" / "doctor.py"]


def used_ids() -> set[str]:
    """Return every string in doctor's code that is a remedy id."""
    texts = {
        node.value
        for path in CODE
        if path.name != "remedies.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return texts & set(remedies.REMEDIES)


def literal_ids() -> list[str]:
    """Return the ids passed to findings and failures as literals."""
    positions = {"failed": 2, "notice": 2, "Unanswered": 1, "remedy": 0}
    ids = [*(fix for _, fix in models.REMEDIES), *models.BY_REASON.values()]
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                position = positions.get(node.func.id)
                if position is not None and len(node.args) > position:
                    argument = node.args[position]
                    if isinstance(argument, ast.Constant):
                        ids.append(argument.value)
    return ids


def test_every_id_used_by_a_check_has_a_remedy():
    assert len(literal_ids()) > 40
    assert set(literal_ids()) <= set(remedies.REMEDIES)


def test_every_remedy_is_used():
    assert used_ids() == set(remedies.REMEDIES)


def test_an_unknown_remedy_or_a_missing_value_raises_key_error():
    with pytest.raises(KeyError):
        remedies.remedy("no-such-remedy")
    with pytest.raises(KeyError):
        remedies.remedy("mode-wrong")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/healthz", "refused"),
        ("https://chat..example.com/", "not a valid host name"),
        ("http://nobody.invalid/", "does not resolve"),
    ],
)
def test_connection_failures_are_distinguished(url, why):
    with pytest.raises(reach.Unanswered, match=why) as error:
        reach.get(url)
    assert error.value.fix in remedies.REMEDIES


class RawServer:
    """Sends `response` to every client, byte by byte if `every_s` is set."""

    def __init__(self, response: bytes, every_s: float = 0.0) -> None:
        import socket
        import threading
        import time

        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/"

        def serve() -> None:
            while True:
                try:
                    peer, _ = self._server.accept()
                except OSError:
                    return
                try:
                    peer.recv(65_536)
                    if not every_s:
                        peer.sendall(response)
                    for byte in response if every_s else b"":
                        peer.sendall(bytes([byte]))
                        time.sleep(every_s)
                except OSError:
                    pass
                finally:
                    peer.close()

        threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()


def test_a_server_that_sends_a_byte_now_and_then_times_out_without_a_length():
    """http.client lets go of the socket of a response that ends with the connection."""
    with dripping() as address, pytest.raises(reach.Unanswered, match="no complete response"):
        reach.get(f"{address}/", patience_s=0.4)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_in_the_state_is_found(tmp_path):
    config = cfg.Config(server=cfg.Server(public_url="https://a.test", state_dir=tmp_path))
    (tmp_path / "log").mkdir()
    tmp_path.chmod(0o700)
    (tmp_path / "log" / "1.wxlog").touch()
    ids = [each.remedy.id for each in configuration.state_directory(config)]
    assert "owner-wrong" not in ids
    os.chown(tmp_path / "log" / "1.wxlog", 12_345, -1)
    ids = [each.remedy.id for each in configuration.state_directory(config)]
    assert "owner-wrong" in ids


def test_a_trickling_server_times_out():
    import time

    server = RawServer(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000, every_s=0.2)
    began = time.monotonic()
    with pytest.raises(reach.Unanswered, match="no complete response within 1 s"):
        reach.get(server.url, patience_s=1.0)
    server.close()
    assert time.monotonic() - began < 60  # the whole response would take minutes


def test_a_silent_server_times_out():
    server = RawServer(b"x", every_s=30.0)
    with pytest.raises(reach.Unanswered, match="no complete response within"):
        reach.get(server.url, patience_s=0.5)
    server.close()


@pytest.mark.parametrize("alert", [ssl.ALERT_DESCRIPTION_INTERNAL_ERROR,
                                   ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME])  # fmt: skip
def test_a_server_without_a_certificate_for_the_name_is_not_taken_for_another_program(alert):
    """The first alert is Caddy's, the second one is nginx's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda *_: alert

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        waiting = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with waiting, contextlib.suppress(OSError):
            waiting.do_handshake()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        with pytest.raises(reach.Unanswered) as raised:
            reach.get(f"https://localhost:{server.getsockname()[1]}/")
    assert raised.value.fix == "certificate-missing"


def test_a_machine_without_a_web_server_is_told_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = list(reach._web_server(f"https://chat.test:{port}", "name-unresolved"))
        assert found == []
    found = list(reach._web_server(f"https://chat.test:{port}", "name-unresolved"))
    assert [each.remedy.id for each in found] == ["web-server-stopped"]
    assert list(reach._web_server(f"https://chat.test:{port}", "certificate-invalid")) == []


def test_a_redirect_is_reported_without_its_query():
    server = RawServer(
        b"HTTP/1.1 302 Found\r\nLocation: https://e.example.org/wx?signature=SIGNED\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    response = reach.get(server.url)
    server.close()
    assert reach._location(response) == "https://e.example.org/wx"


def test_a_long_response_is_truncated():
    server = RawServer(
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 60000\r\n\r\n" + b"\xff" * 60_000
    )
    response = reach.get(server.url)
    server.close()
    assert len(reach._words(response)) <= 200


@pytest.mark.parametrize(
    "path", sorted((FIELD / "20-proxy-from-the-environment").glob("*.env")), ids=lambda p: p.name
)
def test_an_ignored_proxy_in_the_environment_is_reported(path, monkeypatch):
    name, _, value = path.read_text().strip().partition("=")
    for variable in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    remote = Assistant(base_url="https://api.openai.com/v1")
    local = Assistant(base_url="http://127.0.0.1:11434/v1")
    proxied = Assistant(base_url="https://api.openai.com/v1", proxy=Secret("http://p:1"))
    assert list(proxies(ConfigOfAssistants({"far": remote}))) == []
    monkeypatch.setenv(name, value.strip("'").replace("//", "//user:canary@"))
    assert list(proxies(ConfigOfAssistants({"near": local, "used": proxied}))) == []
    [finding] = proxies(ConfigOfAssistants({"near": local, "far": remote, "used": proxied}))
    assert finding.ok is None
    assert f"{name} is set in the environment, but wxgptd ignores it" in finding.detail
    assert "assistant far has no proxy" in finding.detail
    assert "proxy" in finding.remedy.text
    assert "canary" not in finding.detail + finding.remedy.text
    assert ("SOCKS" in finding.remedy.text) == value.strip("'").startswith("socks")


class ConfigOfAssistants:
    """The part of a configuration that these tests use."""

    def __init__(self, assistant) -> None:
        self.assistant = assistant


FAILED_CALLS = {
    "proxy CONNECT failed: 407 Proxy Authentication Required": "proxy-password",
    "proxy CONNECT failed: 403 Forbidden": "proxy-rejected",
    "[('SSL routines', '', 'wrong version number')]": "model-plain-http",
    "[('SSL routines', '', 'certificate verify failed')]": "model-certificate",
    "DNSLookupError: no results for hostname": "model-name-unresolved",
    "Connection was refused by other side": "model-connection-refused",
    "not JSON: <!doctype html>": "model-web-page",
    "HTTP 404 (model_not_found)": "model-unknown",
    "HTTP 404 (asked https://x/v1: is `model` right?)": "model-unknown",
    "HTTP 404 (asked https://x/v1: is /v1 missing from base_url?)": "model-path-unknown",
    "HTTP 302: redirect not followed: to https://y/": "model-redirected",
    "HTTP 502": "model-server-error",
    "HTTP 403: you may not use this model": "model-forbidden",
    "the stream ended without a finish reason": "model-disconnected",
    "no response within 60 s": "model-timeout",
    "timed out waiting for data": "model-timeout",
    "something new": "model-unavailable",
}
OURS = ("proxy CONNECT failed", "not JSON", "redirect not followed", "without a finish reason", "no response within", "timed out waiting for data", "is `model` right?")  # fmt: skip


@pytest.mark.parametrize(("detail", "remedy"), FAILED_CALLS.items())
def test_a_failed_call_gets_the_remedy_for_its_detail(detail, remedy):
    assert models.remedy_of({"reason": "unavailable", "detail": detail}) == remedy


@pytest.mark.parametrize("phrase", OURS)
def test_the_daemon_uses_every_phrase_that_selects_a_remedy(phrase):
    folders = (ROOT / "wxgptd" / "llm", ROOT / "wxgptd" / "outbound")
    sources = [path.read_text("utf-8") for folder in folders for path in folder.glob("*.py")]
    assert any(phrase in source for source in sources)
    assert any(phrase in detail for detail in FAILED_CALLS)
