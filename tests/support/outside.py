"""The outside world by host name, for a test client that does not distinguish hosts."""

from __future__ import annotations

from collections.abc import Callable

from treq.testing import RequestTraversalAgent, _SynchronousProducer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from wxgptd.outbound.addresses import Client
from wxgptd.outbound.client import IdentityAgent


class Outside(Resource):
    """Routes each request to the resource for its host."""

    isLeaf = True

    def __init__(self, **hosts: Resource) -> None:
        super().__init__()
        self.hosts: dict[str, Resource] = dict(hosts)

    def render(self, request: Request):
        host = request.getRequestHostname().decode()
        resource = self.hosts[host]
        request.host_asked = host
        while not resource.isLeaf and request.postpath:
            request.prepath.append(request.postpath.pop(0))
            resource = resource.getChildWithDefault(request.prepath[-1], request)
        return resource.render(request)


class OutsideHttp:
    """The HTTP client of the daemon, connected to `outside`."""

    def __init__(self, outside: Outside) -> None:
        self._agent = RequestTraversalAgent(outside)
        client = Client(IdentityAgent(self._agent), data_to_body_producer=_SynchronousProducer)
        self.get, self.post = client.get, client.post

    def flush(self) -> None:
        """Deliver everything in transit."""
        self._agent.flush()


class Recorder(Resource):
    """Records requests as (url, body, headers); they get no response if `answer` returns None."""

    isLeaf = True

    def __init__(self, answer: Callable[[Request, bytes], bytes | None]) -> None:
        super().__init__()
        self.answer = answer
        self.requests: list[tuple[bytes, bytes, dict[bytes, bytes]]] = []
        self.hung_up = 0

    def render(self, request: Request):
        body = request.content.read()
        headers = {
            name.lower(): values[0] for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.requests.append((request.uri, body, headers))
        response = self.answer(request, body)
        if response is None:

            def count_hang_up(_):
                self.hung_up += 1

            request.notifyFinish().addErrback(count_hang_up)
            return NOT_DONE_YET
        return response
