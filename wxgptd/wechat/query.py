"""The parameters in a request's query."""

from __future__ import annotations

import re
from typing import cast

from twisted.web.http import parse_qs

from wxgptd.wechat.signature import Query

_ENCODED = re.compile(rb"[%+;]")
"""Without these, a query is split and nothing else."""


def parameters(query: bytes) -> Query:
    """Return the parameters of a URL's query."""
    if _ENCODED.search(query):
        return cast("Query", parse_qs(query, 1))
    result: dict[bytes, list[bytes]] = {}
    for parameter in query.split(b"&"):
        name, equals, value = parameter.partition(b"=")
        if equals:
            result.setdefault(name, []).append(value)
    return result
