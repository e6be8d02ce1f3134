"""How a command reaches the NATS servers of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wxgptd.errors import WxgptError
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgptd import config as cfg
    from wxgptd.replication.connection import Access


class NoCluster(WxgptError):
    """there is no cluster"""

    exit_status = 4


def access(cluster: cfg.Cluster) -> Access:
    """Return how to reach the cluster's NATS servers.

    Raises:
        NoCluster: a package is missing.
    """
    try:
        from wxgptd.replication.connection import Access
    except ModuleNotFoundError as error:
        raise NoCluster(
            say("a cluster needs the package {name}", name=error.name),
            hint=say("pip install '.[cluster]', in the checkout"),
        ) from None
    return Access(cluster.servers, cluster.credentials.reveal(), cluster.ca)
