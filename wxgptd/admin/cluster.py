"""The admin socket's view of the cluster."""

from __future__ import annotations

from collections.abc import Collection

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from wxgptd.admin.answering import give_up, json_body, not_found
from wxgptd.ports.control import Control


class Standby(Resource):
    """Answers 409: another node leads, and only that one can change anything."""

    isLeaf = True

    def __init__(self, leader: str) -> None:
        super().__init__()
        self._leader = leader

    def render(self, request: Request) -> bytes:
        request.setResponseCode(409)
        return json_body(request, {"error": "standby", "leader": self._leader})


class Cluster(Resource):
    """The cluster as this node sees it; a POST to `step-down` lets another node lead."""

    isLeaf = True

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control

    def render_GET(self, request: Request) -> bytes:
        cluster = self._control.cluster
        return json_body(request, cluster.summary()) if cluster is not None else not_found(request)

    def render_POST(self, request: Request) -> bytes | int:
        cluster = self._control.cluster
        if cluster is None or request.postpath != [b"step-down"]:
            return not_found(request)
        stepping = cluster.step_down()
        stepping.addCallback(lambda others: self._answer(request, others))
        stepping.addErrback(give_up, request)
        return NOT_DONE_YET

    def _answer(self, request: Request, others: Collection[str] | None) -> None:
        if not others:
            request.setResponseCode(409)
        cluster = self._control.cluster
        leader = cluster.leader() if cluster is not None else None
        request.write(json_body(request, {"others": others and [*others], "leader": leader}))
        request.finish()
