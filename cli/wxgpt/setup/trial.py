"""Try what was typed at once: one token from the model, the domain's address, the port."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from wxgpt import render
from wxgptd.untyped import Json
from wxgptd.wording import say

PATIENCE_S = 20.0
DNS_PATIENCE_S = 5.0
MODELS_PATIENCE_S = 8.0
MAX_BYTES = 4_096
MAX_LIST_BYTES = 4 << 20
ANSWERS = ("base_url", "api_key", "model")
"""The answers that a trial depends on."""
MORE_RECENT = "max_completion_tokens"
"""What some models want instead of `max_tokens`."""


_OTHER = re.compile(
    r"(?i)embed|rerank|whisper|tts|speech|audio|realtime|transcri|moderation|image|video|dall-e"
    r"|sora|wanx|cogview|cogvideo|stable-diffusion|flux|ocr|\basr\b|bge-|guard"
)
"""Models that do not converse."""


class Trial(NamedTuple):
    """The result: `why` is empty if it works; `blames` is the answer to correct, if one is known.

    It is `base_url`, `model`, `api_key`, or empty.
    """

    why: str = ""
    blames: str = ""


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
    """The models for conversations that a server names, and why it rejects the key, if it does."""

    models: tuple[str, ...] = ()
    rejected: Trial = Trial()


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
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            pass
        except http.client.HTTPException:
            pass
        else:
            suited = (name for name in names if name and not _OTHER.search(name))
            found.append(Offer(tuple(dict.fromkeys(suited))))

    _within(MODELS_PATIENCE_S, look)
    return found[0] if found else Offer()


def one_token(server: Server, model: str) -> Trial:
    """Ask the model for one token, which is billed."""
    found: list[Trial] = []
    _within(PATIENCE_S, lambda: found.append(_one_token(server, model)))
    if found:
        return found[0]
    return Trial(say("no answer within {patience_s:g} s", patience_s=PATIENCE_S), "base_url")


def _one_token(server: Server, model: str) -> Trial:
    question = {
        "model": model, "messages": [{"role": "user", "content": "1"}], "max_tokens": 1,
        **server.settings.get("extra_body", {}),
    }  # fmt: skip
    base_url, api_key = server.base_url, server.api_key
    try:
        request = server.request("/chat/completions", question)
        with _opener().open(request, timeout=PATIENCE_S) as found:
            answer = found.read(1 << 20)
        # Some servers always stream.
        text = answer.decode("utf-8", "replace").removeprefix("data:").strip().split("\n")[0]
        if not json.loads(text)["choices"]:
            raise KeyError("choices")
    except urllib.error.HTTPError as error:
        return _refused(error, api_key, model)
    except (KeyError, TypeError):
        return Trial(say("{base_url}: that is not a model's answer", base_url=base_url), "base_url")
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        return Trial(say("{base_url}: {why}", base_url=base_url, why=why), "base_url")
    return Trial()


def _within(patience_s: float, run: Callable[[], None]) -> None:
    """Run something that cannot be interrupted, for at most `patience_s`."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(patience_s)


def not_offered(model: str) -> Trial:
    """Return the result for a model that is not in the server's list, and did not answer."""
    return Trial(say("the server has no model {model}", model=model), "model")


def _refused(error: urllib.error.HTTPError, api_key: str, model: str) -> Trial:
    try:
        body = error.read(MAX_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        body = ""
    if error.code == 400 and MORE_RECENT in body:
        return Trial()  # the daemon finds that out, too, and asks with the other name
    detail = render.printable(body.replace(api_key, "***") if api_key else body)
    detail = " ".join(detail.split())[:300]
    if error.code in (401, 403):
        return Trial(say("the server rejects the key: {detail}", detail=detail), "api_key")
    what = say("HTTP {status}: {detail}", status=error.code, detail=detail)
    return Trial(what, _blamed(error.code, detail, model))


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


def holder_of(port: int) -> str | None:
    """Return who listens at a TCP port of this machine, such as `nginx (812)`, or None.

    It is `?` if the program belongs to another user.
    """
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(table, port)}
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        if inodes & _sockets_of(process):
            with contextlib.suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} ({process.name})"
    return "?"


def _sockets_of(process: Path) -> set[str]:
    """Return the inodes of the sockets of a process that this user may look at."""
    inodes = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(process / "fd"):
            with contextlib.suppress(OSError):  # closed since
                inodes.add(
                    str(Path(entry.path).readlink()).removeprefix("socket:[").removesuffix("]")
                )
    return inodes


def _listening(table: str, port: int) -> list[str]:
    """Return the inodes of the sockets that listen at `port`, from Linux's table of sockets."""
    path = Path("/proc/net") / table
    try:
        rows = [line.split() for line in path.read_text().splitlines()[1:]]
    except OSError:
        return []
    listening = "0A"
    return [row[9] for row in rows if row[3] == listening and row[1].endswith(f":{port:04X}")]
