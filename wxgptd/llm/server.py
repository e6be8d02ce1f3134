"""Where and how a model is asked: what an operator configures of a model server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wxgptd.llm.breaker import shown_url


@dataclass(frozen=True, slots=True)
class Server:
    """Where and how a model is asked.

    `name` is the assistant's, for the log. `headers` hold the key, `parameters` are the body's.
    What is in `secrets` never gets into a detail.
    """

    name: str
    url: str
    model: str
    first_text_timeout_s: float
    idle_timeout_s: float
    total_timeout_s: float
    parameters: Mapping[str, object]
    headers: Mapping[str, str]
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Server({self.name!r}, {shown_url(self.url)!r}, {self.model!r})"
