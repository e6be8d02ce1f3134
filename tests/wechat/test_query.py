"""The parameters in a query."""

from __future__ import annotations

import pytest
from twisted.web.http import parse_qs

from wxgptd.wechat.query import parameters


@pytest.mark.parametrize(
    "query",
    [b"", b"&", b"=", b"a", b"a=", b"=a", b"a=b", b"a=b=c", b"a=b&a=c&b=d", b"a=b;c=d", b"a=%41",
     b"%61=b", b"a=b+c", b"a=\xff", b"a=b&&c=d", b"a=?b", b"a=%", b"a=b#c"],
)  # fmt: skip
def test_parameters_are_those_that_twisted_finds(query):
    assert parameters(query) == parse_qs(query, 1)
