"""Inputs reported from real servers, models and settings: `tests/fixtures/field`."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.model_server import Script, Step

FIELD = Path(__file__).parent.parent / "fixtures" / "field"

_BY_TRANSPORT = {"connection", "transfer-encoding", "content-length"}


def files(folder: str, pattern: str) -> list[Path]:
    """Return the files of one kind of problem, sorted."""
    paths = sorted((FIELD / folder).glob(pattern))
    assert paths, folder
    return paths


def script(path: Path, at_s: float = 0.1) -> Script:
    """Return what a model server sends: status, headers, and the body with its pauses."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    status, *lines = head.decode().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    headers = {name.lower(): _dated(value) for name, value in headers.items()}
    steps, now = [], at_s
    for part in re.split(rb"(@@sleep [0-9.]+@@\n)", _repeated(body)):
        if pause := re.match(rb"@@sleep ([0-9.]+)@@", part):
            now += float(pause[1])
        elif part:
            steps.append(Step(now, part))
    steps.append(Step(now + 0.1, end=True))
    kept = {name: value for name, value in headers.items() if name not in _BY_TRANSPORT}
    return Script(steps, int(status.split()[1]), kept)


def _repeated(body: bytes) -> bytes:
    return re.sub(
        rb"@@repeat ([0-9]+) (.*?)@@", lambda match: match[2] * int(match[1]), body, flags=re.DOTALL
    )


def _dated(value: str) -> str:
    match = re.fullmatch(r"@@date \+([0-9]+)@@", value)
    return f"Tue, 14 Nov 2023 22:13:{20 + int(match[1]) % 40:02} GMT" if match else value


def written(path: Path) -> str:
    """Return the text that a model wrote."""
    return path.read_text("utf-8").removesuffix("\n")
