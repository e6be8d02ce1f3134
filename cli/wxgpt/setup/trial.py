"""Try what was typed at once: one token from the model, the domain's address, the port."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from wxgptd.wording import say

PATIENCE_S = 20.0
DNS_PATIENCE_S = 5.0
MAX_BYTES = 4_096


class Trial(NamedTuple):
    """The result: `why` is empty if it works; `blames` is the answer to correct, if one is known.

    It is `base_url`, `model`, `api_key`, or empty.
    """

    why: str = ""
    blames: str = ""


def one_token(base_url: str, api_key: str, model: str, *, auth: str = "bearer") -> Trial:
    """Ask the model for one token, which is billed."""
    head = {"Content-Type": "application/json", "User-Agent": "wxgpt init"}
    if api_key:
        head |= (
            {"api-key": api_key} if auth == "api-key" else {"Authorization": f"Bearer {api_key}"}
        )
    question = {"model": model, "messages": [{"role": "user", "content": "1"}], "max_tokens": 1}
    request = urllib.request.Request(  # noqa: S310 (http or https: see `wxgptd.config`)
        f"{base_url.rstrip('/')}/chat/completions", json.dumps(question).encode(), head
    )
    try:
        with _opener().open(request, timeout=PATIENCE_S) as response:
            answer = response.read(1 << 20)
            if not answer.startswith(b"data:"):  # some servers always stream
                json.loads(answer)["choices"]
    except urllib.error.HTTPError as error:
        detail = " ".join(error.read(MAX_BYTES).decode("utf-8", "replace").split())[:300]
        detail = detail.replace(api_key, "***") if api_key else detail
        what = say("HTTP {status}: {detail}", status=error.code, detail=detail)
        return Trial(what, _blamed(error.code, detail, model))
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        return Trial(say("{base_url}: {why}", base_url=base_url, why=why), "base_url")
    except (KeyError, TypeError):
        return Trial(say("{base_url}: that is not a model's answer", base_url=base_url), "base_url")
    return Trial()


def _blamed(status: int, detail: str, model: str) -> str:
    if status in (401, 403):
        return "api_key"
    if model in detail or "model" in detail.lower():
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
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DNS_PATIENCE_S)
    try:
        return socket.gethostbyname(domain)
    except OSError:
        return None
    finally:
        socket.setdefaulttimeout(before)


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
