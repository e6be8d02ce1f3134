"""Asks DNS how long the addresses of a name may be kept (TTL, RFC 1035 section 3.2.1).

`getaddrinfo` finds the addresses and does not tell. So DNS is asked beside it, and believed only
about the addresses that `getaddrinfo` found: what an answer of DNS says can make a name be looked
up later or earlier, and never lead anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

from dns.exception import DNSException
from dns.rdatatype import AAAA, A
from dns.resolver import Resolver

QUERY_S = 2.0
"""How long a DNS server has to answer. No request waits for it."""


def time_to_live(name: str, addresses: Sequence[str]) -> tuple[float, bool] | None:
    """Return how many seconds the records of `name` have to live, as DNS tells at this moment.

    For what was found along a chain of aliases, the shortest life of the chain. The servers and the
    search domains are those of /etc/resolv.conf. Blocks for up to `QUERY_S` for each family of
    `addresses`.

    Returns:
        The seconds, and whether DNS tells of these very `addresses`: it does not where they come
        from /etc/hosts, or from a balancer that answers each question otherwise. None where DNS
        cannot be asked or knows no such name.
    """
    families = [AAAA] if any(":" in address for address in addresses) else []
    families += [A] if any(":" not in address for address in addresses) else []
    lives: list[int] = []
    told: set[str] = set()
    try:
        resolver = Resolver()
        for family in families:
            answer = resolver.resolve(
                name, family, search=True, raise_on_no_answer=False, lifetime=QUERY_S
            )
            if answer.rrset is not None:
                lives.append(answer.chaining_result.minimum_ttl)
                told.update(record.address for record in answer.rrset)
    except (DNSException, OSError, ValueError):
        return None
    if not lives:
        return None
    return float(min(lives)), told.issuperset(address.partition("%")[0] for address in addresses)
