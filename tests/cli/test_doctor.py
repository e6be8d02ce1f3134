"""What `wxgpt doctor` says, beside the golden outputs."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

from tests.support.field import FIELD
from wxgpt import diagnosis
from wxgpt.diagnosis import models, reach, remedies
from wxgpt.diagnosis.proxies import proxies
from wxgptd.config.tables import Assistant
from wxgptd.config.values import Secret

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(diagnosis.__file__).parent
CODE = [*FOLDER.glob("*.py"), FOLDER.parent / "commands" / "doctor.py"]


def used() -> set[str]:
    """Every text in the code of doctor that is the id of a remedy."""
    texts = {
        node.value
        for path in CODE
        if path.name != "remedies.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return texts & set(remedies.known())


def given() -> list[str]:
    """The ids that findings and failures are given, wherever they stand as they are."""
    places = {"bad": 2, "noticed": 2, "Unanswered": 1, "remedy": 0}
    found = [*(fix for _, fix in models.REMEDIES), *models.BY_REASON.values()]
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = places.get(node.func.id)
                if place is not None and len(node.args) > place:
                    argument = node.args[place]
                    if isinstance(argument, ast.Constant):
                        found.append(argument.value)
    return found


def test_every_id_that_a_check_gives_has_a_remedy():
    assert len(given()) > 40
    assert set(given()) <= set(remedies.known())


def test_every_remedy_is_used():
    assert used() == set(remedies.known())


@pytest.mark.parametrize(("identifier", "texts"), remedies.known().items())
def test_a_remedy_is_in_chinese_too_and_names_the_same_things(identifier, texts):
    english, chinese = texts
    names = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in texts]
    assert re.search("[一-鿿]", chinese)
    assert not re.search("[一-鿿]", english) or identifier == "push-rejected"
    assert names[0] >= names[1]


def test_a_remedy_that_does_not_exist_is_an_error_at_once():
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
def test_what_cannot_be_reached_is_told_apart(url, why):
    with pytest.raises(reach.Unanswered, match=why) as failed:
        reach.get(url)
    assert failed.value.fix in remedies.known()


class Odd:
    """A server that says `said` to everybody, a piece at a time."""

    def __init__(self, said: bytes, every_s: float = 0.0) -> None:
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
                        peer.sendall(said)
                    for byte in said if every_s else b"":
                        peer.sendall(bytes([byte]))
                        time.sleep(every_s)
                except OSError:
                    pass
                finally:
                    peer.close()

        threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()


def test_a_server_that_trickles_is_given_up_in_time():
    import time

    odd = Odd(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000, every_s=0.2)
    began = time.monotonic()
    with pytest.raises(reach.Unanswered, match="no complete response within 1 s"):
        reach.get(odd.url, patience_s=1.0)
    odd.close()
    assert time.monotonic() - began < 60  # all of it would have taken minutes


def test_a_server_that_says_nothing_is_said_to_say_nothing():
    odd = Odd(b"x", every_s=30.0)
    with pytest.raises(reach.Unanswered, match="no complete response within"):
        reach.get(odd.url, patience_s=0.5)
    odd.close()


def test_where_it_is_redirected_to_is_told_without_its_query():
    odd = Odd(
        b"HTTP/1.1 302 Found\r\nLocation: https://e.example.org/wx?signature=SIGNED\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    answer = reach.get(odd.url)
    odd.close()
    assert reach._location(answer) == "https://e.example.org/wx"


def test_of_a_long_answer_only_the_beginning_is_told():
    odd = Odd(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 60000\r\n\r\n" + b"\xff" * 60_000)
    answer = reach.get(odd.url)
    odd.close()
    assert len(reach._words(answer)) <= 200


@pytest.mark.parametrize(
    "path", sorted((FIELD / "20-proxy-from-the-environment").glob("*.env")), ids=lambda p: p.name
)
def test_a_proxy_in_the_environment_that_is_not_used_is_named(path, monkeypatch):
    name, _, value = path.read_text().strip().partition("=")
    for known in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(known, raising=False)
        monkeypatch.delenv(known.lower(), raising=False)
    far = Assistant(base_url="https://api.openai.com/v1")
    near = Assistant(base_url="http://127.0.0.1:11434/v1")
    used = Assistant(base_url="https://api.openai.com/v1", proxy=Secret("http://p:1"))
    assert list(proxies(ConfigOfAssistants({"far": far}))) == []
    monkeypatch.setenv(name, value.strip("'").replace("//", "//user:canary@"))
    assert list(proxies(ConfigOfAssistants({"near": near, "used": used}))) == []
    [finding] = proxies(ConfigOfAssistants({"near": near, "far": far, "used": used}))
    assert finding.ok is None
    assert f"{name} is set in the environment, but wxgptd ignores it" in finding.detail
    assert "assistant far has no proxy" in finding.detail
    assert "proxy" in finding.remedy.in_english()
    assert "canary" not in finding.detail + finding.remedy.in_english()
    assert ("SOCKS" in finding.remedy.in_english()) == value.strip("'").startswith("socks")


class ConfigOfAssistants:
    """As much of a configuration as is looked at here."""

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
def test_a_failed_call_gets_the_remedy_of_its_detail(detail, remedy):
    assert models.remedy_of({"reason": "unavailable", "detail": detail}) == remedy


@pytest.mark.parametrize("phrase", OURS)
def test_the_phrases_that_remedies_go_by_are_those_the_daemon_says(phrase):
    folders = (ROOT / "wxgptd" / "llm", ROOT / "wxgptd" / "outbound")
    sources = [path.read_text("utf-8") for folder in folders for path in folder.glob("*.py")]
    assert any(phrase in source for source in sources)
    assert any(phrase in detail for detail in FAILED_CALLS)
