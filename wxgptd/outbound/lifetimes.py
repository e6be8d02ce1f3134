"""Ask DNS how long the addresses of a name may be cached (TTL, RFC 1035 section 3.2.1).

`getaddrinfo` finds the addresses but not their TTL. So DNS is queried as well, and trusted only
about the addresses that `getaddrinfo` found: a DNS answer can make the next lookup of a name happen
earlier or later, but cannot change what the name resolves to.
"""

from __future__ import annotations

from collections.abc import Sequence

from dns.exception import DNSException
from dns.rdatatype import AAAA, A
from dns.resolver import Resolver

QUERY_S = 2.0
"""The timeout of a DNS query. No request waits for one."""


def time_to_live(name: str, addresses: Sequence[str]) -> tuple[float, bool] | None:
    """Return the remaining TTL of the records of `name`, in seconds, according to DNS.

    For a chain of aliases, that is the shortest TTL in the chain. The servers and search domains
    are those of /etc/resolv.conf. Blocks for up to `QUERY_S` for each family of `addresses`.

    Returns:
        The seconds, and whether DNS confirms all `addresses`. It does not if they come from
        /etc/hosts, or from a load balancer that answers each query differently. None if DNS cannot
        be queried or does not know the name.
    """
    families = [AAAA] if any(":" in address for address in addresses) else []
    families += [A] if any(":" not in address for address in addresses) else []
    ttls_s: list[int] = []
    confirmed: set[str] = set()
    try:
        resolver = Resolver()
        for family in families:
            answer = resolver.resolve(
                name, family, search=True, raise_on_no_answer=False, lifetime=QUERY_S
            )
            if answer.rrset is not None:
                ttls_s.append(answer.chaining_result.minimum_ttl)
                confirmed.update(record.address for record in answer.rrset)
    except (DNSException, OSError, ValueError):
        return None
    if not ttls_s:
        return None
    return float(min(ttls_s)), confirmed.issuperset(
        address.partition("%")[0] for address in addresses
    )
