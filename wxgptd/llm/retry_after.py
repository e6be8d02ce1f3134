"""How long a server asks clients to wait: the Retry-After header (RFC 9110, 10.2.3)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

from twisted.web.iweb import IResponse

MAX_S = 86_400.0


def retry_after(response: IResponse) -> float:
    """Return how many seconds a response asks the client to wait, at most one day; 0 if none."""
    values = response.headers.getRawHeaders(b"retry-after", [])
    if not values:
        return 0.0
    value = values[0].decode("latin-1").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?", value):
        return min(float(value), MAX_S)
    try:
        then = parsedate_to_datetime(value)
        dates = response.headers.getRawHeaders(b"date", [values[0]])
        date = parsedate_to_datetime(dates[0].decode("latin-1"))
        return min(max((then - date).total_seconds(), 0.0), MAX_S)
    except (ValueError, TypeError):
        return 0.0
