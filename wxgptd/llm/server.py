"""What an operator configures about a model server: where and how to call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wxgptd.llm.breaker import url_without_query


@dataclass(frozen=True, slots=True)
class Server:
    """Where and how to call a model.

    `name` is the assistant's name, for the log. `headers` include the key; `parameters` are part of
    the request body. `secrets` never appear in an error detail.
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
        return f"Server({self.name!r}, {url_without_query(self.url)!r}, {self.model!r})"
