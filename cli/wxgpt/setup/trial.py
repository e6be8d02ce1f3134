"""Try what was typed at once: the model's server, and the domain's address."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

from wxgpt import render
from wxgptd.untyped import Json
from wxgptd.wording import say

PATIENCE_S = 20.0
DNS_PATIENCE_S = 5.0
MODELS_PATIENCE_S = 8.0
MAX_BYTES = 64 << 10
MAX_ANSWER_BYTES = 1 << 20
MOST_SHOWN = 300
MOST_OF_A_NAME = 100
MAX_LIST_BYTES = 4 << 20
_BROKEN = (OSError, ValueError, RecursionError, http.client.HTTPException)
"""What a server that does not speak HTTP and JSON properly raises."""

ANSWERS = ("base_url", "api_key", "model")
"""The answers that a trial depends on."""
MORE_RECENT = "max_completion_tokens"
"""What some models want instead of `max_tokens`."""


_OTHER = re.compile(
    r"(?i)\b(?:(?:text-)?embed(?:ding|dings)?|embedding-[0-9]+|rerank(?:er)?|whisper|tts|asr|ocr|sora|wanx"
    r"|flux|bge|moderation|dall-e|cogview|cogvideo\w*|stable-diffusion|transcribe|realtime)\b"
)
"""Models that do not converse."""


class Trial(NamedTuple):
    """The result: `why` is empty if it works; `blames` is the answer to correct, if one is known.

    That is `base_url`, `model`, `api_key`, or empty. `status` is that of HTTP, if there was one.
    """

    why: str = ""
    blames: str = ""
    status: int = 0


class Server(NamedTuple):
    """A model server, the key for it, and the further settings of its assistant."""

    base_url: str
    api_key: str
    settings: Json

    def request(self, path: str, body: Json | None = None) -> urllib.request.Request:
        """Return a request with the key in the header that the server wants."""
        head = {"Content-Type": "application/json", "User-Agent": "wxgpt init"}
        if self.api_key:
            named = self.settings.get("auth") == "api-key"
            head |= (
                {"api-key": self.api_key} if named else {"Authorization": f"Bearer {self.api_key}"}
            )
        address, _, query = self.base_url.partition("?")
        address = f"{address.rstrip('/').removesuffix('/chat/completions')}{path}"
        data = json.dumps(body).encode() if body is not None else None
        return urllib.request.Request(f"{address}?{query}" if query else address, data, head)  # noqa: S310 (see `checks`)


class Offer(NamedTuple):
    """The models that a server names: all, and those that converse, as far as names tell.

    `rejected` is why it rejects the key, if it does.
    """

    names: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    rejected: Trial = Trial()

    def explain(self, tried: Trial, model: str) -> Trial:
        """Return why a model did not answer, given that the server may not have it."""
        if not self.names or model in self.names or tried.status not in (400, 404):
            return tried
        what = say("the server has no model {model}: {why}", model=model, why=tried.why)
        return Trial(what, "model", tried.status)


def offered(server: Server) -> Offer:
    """Ask a server which models it offers; not every server says so."""
    found: list[Offer] = []

    def look() -> None:
        request = server.request("/models")
        try:
            with _opener().open(request, timeout=MODELS_PATIENCE_S) as answer:
                listed = json.loads(answer.read(MAX_LIST_BYTES))["data"]
                names = [render.printable(str(model["id"])) for model in listed]
        except urllib.error.HTTPError as error:
            if error.code == 401:
                found.append(Offer(rejected=_refused(error, server.api_key, "")))
        except (*_BROKEN, LookupError, TypeError):
            pass  # not every server lists its models
        else:
            names = list(dict.fromkeys(name for name in names if 0 < len(name) <= MOST_OF_A_NAME))
            suited = (name for name in names if not _OTHER.search(name))
            found.append(Offer(tuple(names), tuple(suited)))

    _within(MODELS_PATIENCE_S, look)
    return found[0] if found else Offer()


def one_token(server: Server, model: str, patience_s: float = PATIENCE_S) -> Trial:
    """Ask the model for one token, which is billed."""
    found: list[Trial] = []
    _within(patience_s, lambda: found.append(_one_token(server, model, patience_s)))
    if found:
        return found[0]
    return Trial(say("no answer within {patience_s:g} s", patience_s=patience_s), "base_url")


def _one_token(server: Server, model: str, patience_s: float) -> Trial:
    question = {
        "model": model, "messages": [{"role": "user", "content": "1"}], "max_tokens": 1,
        **server.settings.get("extra_body", {}),
    }  # fmt: skip
    base_url = server.base_url
    try:
        request = server.request("/chat/completions", question)
        with _opener().open(request, timeout=patience_s) as found:
            answer = found.read(MAX_ANSWER_BYTES)
        # Some servers always stream.
        text = answer.decode("utf-8", "replace").removeprefix("data:").strip().split("\n")[0]
        choices = json.loads(text)["choices"]
        if not isinstance(choices, list) or not choices:
            raise KeyError("choices")
    except urllib.error.HTTPError as error:
        return _refused(error, server.api_key, model)
    except (KeyError, TypeError, RecursionError, json.JSONDecodeError):
        return Trial(say("{base_url}: that is not a model's answer", base_url=base_url), "base_url")
    except _BROKEN as error:
        why = _safe(str(getattr(error, "reason", error)), server.api_key)
        return Trial(say("{base_url}: {why}", base_url=base_url, why=why), "base_url")
    return Trial()


def _safe(text: str, api_key: str) -> str:
    """Return a server's words for the terminal, without the key."""
    if api_key:
        text = text.replace(api_key, "***")
    return " ".join(render.printable(text).split())[:MOST_SHOWN]


def _within(patience_s: float, run: Callable[[], None]) -> None:
    """Run something that cannot be interrupted, for at most `patience_s`."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(patience_s)


def _refused(error: urllib.error.HTTPError, api_key: str, model: str) -> Trial:
    try:
        body = error.read(MAX_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        body = ""
    if error.code == 400 and MORE_RECENT in body:
        return Trial()  # the daemon finds that out, too, and asks with the other name
    detail = _safe(body, api_key)
    if error.code in (401, 403):
        why = say("the server rejects the key: {detail}", detail=detail)
        return Trial(why, "api_key", error.code)
    what = say("HTTP {status}: {detail}", status=error.code, detail=detail)
    return Trial(what, _blamed(error.code, detail, model), error.code)


def _blamed(status: int, detail: str, model: str) -> str:
    if status in (400, 404) and (model in detail or "model" in detail.lower()):
        return "model"
    return "base_url" if status in (404, 405) else ""


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that follows no redirects: it would send the key elsewhere."""

    class Refusing(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    return urllib.request.build_opener(Refusing)


def address_of(domain: str) -> str | None:
    """Return the IPv4 address of a domain, or None if it has none."""
    found: list[str] = []

    def resolve() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            found.append(socket.gethostbyname(domain))

    _within(DNS_PATIENCE_S, resolve)
    return found[0] if found else None
