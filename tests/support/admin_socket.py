"""The admin socket of a `Story`, so that `wxgpt` can talk to a daemon in virtual time."""

from __future__ import annotations

import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from treq.testing import StubTreq

from tests.support.story import Story


class AdminSocket:
    """Serves the admin resources of `story` at `path`, without advancing its clock."""

    def __init__(self, story: Story, path: Path) -> None:
        stub = StubTreq(story.service.admin)

        class Handler(BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                responses, bodies = [], []
                request = stub.request(self.command, f"http://wxgptd{self.path}", data=body)
                request.addCallback(responses.append)
                for _ in range(3):
                    stub.flush()
                    story.flush()
                stub.content(responses[0]).addCallback(bodies.append)
                stub.flush()
                self.send_response(responses[0].code)
                self.send_header("Content-Length", str(len(bodies[0])))
                self.end_headers()
                self.wfile.write(bodies[0])

            do_GET = do_POST = _pass_on

            def address_string(self) -> str:
                return "operator"

            def log_message(self, *_: object) -> None:
                pass

        self._server = socketserver.UnixStreamServer(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
