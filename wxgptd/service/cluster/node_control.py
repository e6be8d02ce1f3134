"""The operator's view of the cluster. Implements `wxgptd.ports.control.ClusterControl`."""

from __future__ import annotations

from collections.abc import Collection

from twisted.internet.defer import Deferred

from wxgptd.ports.control import ClusterSummary, NodeSummary
from wxgptd.ports.replica import Beat
from wxgptd.service.cluster.standing import Standing


class NodeControl:
    """What the operator can see of the cluster, and do with this node."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def leader(self) -> str | None:
        """Return the name of the node that leads if it is another one, or None."""
        standing = self._standing
        if standing.leads:
            return None
        return standing.leader.node if standing.leader is not None else ""

    def summary(self) -> ClusterSummary:
        """Return the cluster as this node sees it."""
        standing = self._standing
        own = standing.beat()
        leader = own.node if standing.leads else self.leader() or ""
        others = [
            self._node(
                heard.beat._replace(leads=heard.beat.node == leader),
                own,
                standing.nodes.silent_for(heard),
            )
            for heard in standing.nodes.listed.values()
        ]
        return ClusterSummary(
            cluster=standing.cluster,
            role=standing.role,
            is_stalled=standing.is_stalled,
            leader=leader,
            lag=standing.lag,
            takeovers=standing.takeovers,
            nodes=[self._node(own, own, 0.0), *sorted(others)],
        )

    def _node(self, beat: Beat, own: Beat, silent_s: float) -> NodeSummary:
        return NodeSummary(
            name=beat.node,
            url=beat.url,
            leads=beat.leads,
            seq=beat.seq,
            version=beat.version,
            config=beat.config,
            silent_s=silent_s,
            clock_s=beat.wall + silent_s - own.wall,
            is_missing=sorted({*own.kinds} - {*beat.kinds}),
        )

    def step_down(self) -> Deferred[Collection[str] | None]:
        """Stop leading; fires with the names of the nodes that may take over."""
        return Deferred.fromCoroutine(self._step_down())

    async def _step_down(self) -> Collection[str] | None:
        return await self._standing.hand_over() if self._standing.leads else None
