"""The admin socket's resources: JSON in and out, metrics in Prometheus's text format.

Only the daemon's own user may open the UNIX socket; no other authentication is needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from wxgptd.admin.answering import give_up, json_body, not_found
from wxgptd.admin.cluster import Cluster, Standby
from wxgptd.ports.control import Control, Faulty, ModelTrial

log = Logger()

STANDINGS = ("default", "allowed", "blocked")
MAX_NAME_CHARS = 40
MAX_USERS = 10_000
CHANGING = (b"sessions", b"users")
"""The topics whose POSTs record events."""

MAX_STANDING_S = 100 * 365 * 86_400.0


class Admin(Resource):
    """The root resource: a child for each topic of the command line, and one for the metrics."""

    def __init__(self, control: Control, metrics: CollectorRegistry) -> None:
        super().__init__()
        self.putChild(b"status", _Status(control))
        self.putChild(b"sessions", _Sessions(control))
        self.putChild(b"questions", _Questions(control))
        self.putChild(b"users", _Users(control))
        self.putChild(b"assistants", _Assistants(control))
        self.putChild(b"accounts", _Accounts(control))
        self.putChild(b"log", _Log(control))
        self.putChild(b"reload", _Reload(control))
        self.putChild(b"cluster", Cluster(control))
        self.putChild(b"metrics", Metrics(metrics))
        self._control = control

    def getChildWithDefault(self, path: bytes, request: Request) -> Resource:
        """Return the child for a topic; on a standby, nothing but the node itself is changed."""
        if (
            request.method == b"POST"
            and path in CHANGING
            and (request.postpath or [])[-1:] != [b"whose"]
        ):
            cluster = self._control.cluster
            leader = cluster.leader() if cluster is not None else None
            if leader is not None:
                return Standby(leader)
        child: Resource = super().getChildWithDefault(path, request)
        return child


class _OfControl(Resource):
    """A resource backed by `control`."""

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control


class _Status(_OfControl):
    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        return json_body(request, self._control.status())


class _Sessions(_OfControl):
    def getChild(self, path: bytes, request: Request) -> Resource:
        if not self._control.ready():
            return _Starting()
        return self if not path else _Session(self._control, path.decode("utf-8", "replace"))

    def render_GET(self, request: Request) -> bytes:
        if not self._control.ready():
            return _Starting().render_GET(request)
        return json_body(request, self._control.sessions.open())


class _Questions(_OfControl):
    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        if not self._control.ready():
            return _Starting().render_GET(request)
        return json_body(request, self._control.sessions.pending())


class _Starting(Resource):
    """Answers 503 while the log is loading: nothing is known yet, and nothing may be changed."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        request.setResponseCode(503)
        return json_body(request, {"error": "starting"})

    render_POST = render_GET


class _Session(Resource):
    """One session; a POST to `stop` below it ends it."""

    isLeaf = True

    def __init__(self, control: Control, session: str) -> None:
        super().__init__()
        self._control = control
        self._session = session

    def render_POST(self, request: Request) -> bytes | int:
        if request.postpath != [b"stop"]:
            return not_found(request)
        stopped = self._control.sessions.stop(self._session)
        stopped.addCallback(lambda success: self._answer(request, success))
        stopped.addErrback(give_up, request)
        return NOT_DONE_YET

    def _answer(self, request: Request, stopped: bool) -> None:
        if not stopped:
            request.setResponseCode(404)
        request.write(json_body(request, {"stopped": stopped}))
        request.finish()


class _Users(_OfControl):
    """The users.

    GET returns at most `n` of them, all or those of one `standing` or `account`, and those whose
    OpenID or name begins with `beginning`; with `names`, the names of users by `ACCOUNT/OPENID`.
    POST to `ACCOUNT/OPENID` sets the `standing` of a user, permanently or for `for_s` seconds. POST
    to `ACCOUNT/OPENID/name` gives a user the name in the body, POST to `ACCOUNT/OPENID/forget`
    erases a user. GET of `ACCOUNT/OPENID` returns 404 if nothing is known about the user. POST to
    `ACCOUNT/OPENID/whose` returns who would handle a message of `kind` with the text in the body.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        if not self._control.ready():
            return _Starting().render_GET(request)
        if request.postpath and request.postpath != [b""]:
            return self._known(request)
        if b"names" in request.args:
            return json_body(request, self._control.users.names())
        limit = request.args.get(b"n", [b""])[0]
        standing = request.args.get(b"standing", [b""])[0].decode("utf-8", "replace")
        count = int(limit) if re.fullmatch(rb"[0-9]{1,9}", limit) else MAX_USERS
        beginning = request.args.get(b"beginning", [b""])[0].decode("utf-8", "replace")
        account = request.args.get(b"account", [b""])[0].decode("utf-8", "replace")
        users = self._control.users
        found = users.newest(min(count, MAX_USERS), standing, beginning, account)
        return json_body(request, found)

    def render_POST(self, request: Request) -> bytes | int:
        if not self._control.ready():
            return _Starting().render_POST(request)
        match request.postpath:
            case [account, openid, b"forget"]:
                forgotten = self._control.users.forget(
                    account.decode("utf-8", "replace"), openid.decode("utf-8", "replace")
                )
                forgotten.addCallback(lambda changed: self._answer(request, changed))
                forgotten.addErrback(give_up, request)
                return NOT_DONE_YET
            case [account, openid, b"name"]:
                assert request.content is not None
                name = request.content.read().decode("utf-8", "replace").strip()
                if len(name) > MAX_NAME_CHARS or not name.isprintable():
                    request.setResponseCode(400)
                    return json_body(request, {"error": "invalid name"})
                named = self._control.users.give_name(
                    account.decode("utf-8", "replace"), openid.decode("utf-8", "replace"), name
                )
                named.addCallback(lambda changed: self._answer(request, changed))
                named.addErrback(give_up, request)
                return NOT_DONE_YET
            case [account, openid, b"whose"]:
                assert request.content is not None
                text = request.content.read().decode("utf-8", "replace")
                handler = self._control.users.handler_for(
                    account.decode("utf-8", "replace"),
                    openid.decode("utf-8", "replace"),
                    text,
                    kind=request.args.get(b"kind", [b"text"])[0].decode("utf-8", "replace"),
                    tapped=b"tapped" in request.args,
                )
                if handler is None:
                    request.setResponseCode(404)
                return json_body(request, {"whose": handler})
            case _:
                return self._change(request)

    def _known(self, request: Request) -> bytes:
        path = [part.decode("utf-8", "replace") for part in request.postpath or ()]
        known = len(path) == 2 and self._control.users.knows(*path)
        if not known:
            request.setResponseCode(404)
        return json_body(request, {"known": known})

    def _change(self, request: Request) -> bytes | int:
        try:
            account, openid = (part.decode() for part in request.postpath or ())
            standing = request.args[b"standing"][0].decode()
            for_s = float(request.args.get(b"for_s", [b"0"])[0])
            if standing not in STANDINGS or not openid or not 0 <= for_s < MAX_STANDING_S:
                raise ValueError
        except (ValueError, KeyError):
            request.setResponseCode(400)
            return json_body(request, {"error": "invalid request"})
        change = self._control.users.change_standing(account, openid, standing, for_s)
        change.addCallback(lambda changed: self._answer(request, changed))
        change.addErrback(give_up, request)
        return NOT_DONE_YET

    def _answer(self, request: Request, changed: bool) -> None:
        if not changed:
            request.setResponseCode(404)
        request.write(json_body(request, {"changed": changed}))
        request.finish()


class _Assistants(_OfControl):
    """The assistants; a POST to `NAME/try` requests one token from each of its models."""

    isLeaf = True

    def render_POST(self, request: Request) -> bytes | int:
        if not self._control.ready():
            return _Starting().render_POST(request)
        path = request.postpath or []
        if len(path) != 2 or path[1] != b"try":
            return not_found(request)
        trial = self._control.trials.assistant(path[0].decode("utf-8", "replace"))
        request.notifyFinish().addErrback(lambda _: trial.cancel())
        trial.addCallback(lambda results: self._answer(request, results))
        trial.addErrback(give_up, request)
        return NOT_DONE_YET

    def _answer(self, request: Request, results: Sequence[ModelTrial] | None) -> None:
        if results is None:
            request.setResponseCode(404)
        request.write(json_body(request, results))
        request.finish()


class _Accounts(_OfControl):
    """The accounts; a POST to `NAME/try` requests a token from WeChat if the account can push."""

    isLeaf = True

    def render_POST(self, request: Request) -> bytes | int:
        if not self._control.ready():
            return _Starting().render_POST(request)
        path = request.postpath or []
        trial = None
        if len(path) == 2 and path[1] == b"try":
            trial = self._control.trials.push(path[0].decode("utf-8", "replace"))
        if trial is None:
            return not_found(request)
        request.notifyFinish().addErrback(lambda _: trial.cancel())
        trial.addCallback(lambda failure: self._answer(request, failure))
        trial.addErrback(give_up, request)
        return NOT_DONE_YET

    def _answer(self, request: Request, failure: str) -> None:
        request.write(json_body(request, {"ok": not failure, "detail": failure}))
        request.finish()


class _Log(_OfControl):
    """The log; a POST to `vacuum` takes a snapshot and applies retention."""

    isLeaf = True

    def render_POST(self, request: Request) -> bytes | int:
        if not self._control.ready():
            return _Starting().render_POST(request)
        if request.postpath != [b"vacuum"]:
            return not_found(request)
        vacuum = self._control.maintenance.vacuum()
        vacuum.addCallback(
            lambda result: (request.write(json_body(request, result)), request.finish())
        )
        vacuum.addErrback(give_up, request)
        return NOT_DONE_YET


def _bad_request(request: Request, fault: str) -> bytes:
    request.setResponseCode(400)
    return json_body(request, {"faults": [fault]})


class _Reload(_OfControl):
    """POST reloads the configuration, from its body or from the daemon's own file.

    `path` and `mode` (in octal) are those of the file that the body was read from; if `dry`, the
    response only lists what would change.
    """

    isLeaf = True

    def render_POST(self, request: Request) -> bytes:
        if not self._control.ready():
            return _Starting().render_POST(request)
        assert request.content is not None
        body = request.content.read()
        uploaded: tuple[str, Path, int] | None = None
        if b"path" in request.args:  # otherwise it is the daemon's own file
            path = request.args[b"path"][0].decode("utf-8", "replace").replace("\0", "")
            mode = request.args.get(b"mode", [b"0"])[0]
            try:
                text = body.decode()
            except UnicodeDecodeError:
                return _bad_request(request, "the configuration is not UTF-8")
            if not re.fullmatch(rb"[0-7]{1,4}", mode):
                return _bad_request(request, "mode must be an octal number")
            uploaded = text, Path(path), int(mode, 8)
        elif body:
            return _bad_request(request, "a configuration in the body requires its path")
        result = self._control.maintenance.reload(uploaded, dry=b"dry" in request.args)
        if isinstance(result, Faulty):
            request.setResponseCode(400)
        return json_body(request, result)


class Metrics(Resource):
    """All metrics, in Prometheus's text format."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", CONTENT_TYPE_LATEST.encode("ascii"))
        return generate_latest(self._registry)
