"""Check the cluster: the NATS servers, the nodes, and what they must have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.request import urlopen

from wxgpt import control
from wxgpt.cluster_access import access
from wxgpt.diagnosis.finding import Finding, failed, passed
from wxgpt.diagnosis.remedies import Remedy, remedy
from wxgptd.errors import WxgptError
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgptd.config import Cluster, Config
    from wxgptd.untyped import Json

CHECK = "cluster"
MAX_CLOCK_S = 1.0
MAX_LAG = 1_000
LEAST_PAYLOAD_BYTES = 4 * 1024 * 1024
COPIES = 3
PATIENCE_S = 5.0


def cluster(config: Config, *, running: bool) -> Iterator[Finding]:
    """Check the servers, and the nodes if the daemon is `running`."""
    if not config.cluster.name:
        return
    yield from servers(config.cluster)
    if running:
        yield from nodes()


def servers(configured: Cluster) -> Iterator[Finding]:
    """Check each NATS server, and how many copies of everything they keep."""
    from wxgptd.replication import creating

    for server in configured.servers:
        one = access(configured)._replace(servers=(server,))
        try:
            with creating.reached(one, configured.name) as reached:
                facts = reached.server()
        except WxgptError as error:
            refused = "refuse" in str(error)
            fix = "nats-credentials" if refused else "nats-unreachable"
            yield failed(CHECK, say("{server}: {error}", server=server, error=error), fix)
            continue
        if facts.max_payload < LEAST_PAYLOAD_BYTES:
            what = say(
                "{server}: max_payload is {max_payload:,} bytes",
                server=server,
                max_payload=facts.max_payload,
            )
            yield failed(CHECK, what, "nats-payload")
        else:
            yield passed(
                CHECK, say("{server}: NATS {version}", server=server, version=facts.version)
            )
    with creating.reached(access(configured), configured.name) as reached:
        if reached.identity() is None:
            yield failed(
                CHECK, say("there is no cluster {name}", name=configured.name), "cluster-missing"
            )
            return
        for stream in reached.streams():
            what = say(
                "stream {name}: copies: {copies}, current: {current}",
                name=stream.name,
                copies=stream.copies,
                current=stream.current,
            )
            if stream.copies < COPIES:
                yield failed(CHECK, what, "nats-copies")
            elif stream.current < stream.copies:
                yield failed(CHECK, what, "nats-unreachable")
            else:
                yield passed(
                    CHECK,
                    say(
                        "{what}, on {servers}", what=what, servers=", ".join(sorted(stream.servers))
                    ),
                )


def nodes() -> Iterator[Finding]:
    """Check the nodes, as the one here sees them."""
    status, summary = control.request("GET", "/cluster")
    if status != 200:
        yield failed(CHECK, say("the daemon runs without [cluster]"), "restart-required")
        return
    if summary["is_stalled"]:
        yield failed(CHECK, say("the NATS servers store nothing"), "cluster-no-quorum")
    if not summary["leader"]:
        yield failed(CHECK, say("no node leads"), "cluster-no-leader")
    own, *others = summary["nodes"]
    if own["name"] in [node["name"] for node in others]:
        yield failed(CHECK, say("two nodes are called {name}", name=own["name"]), "cluster-name")
    if not others:
        yield failed(CHECK, say("no other node runs, so none can take over"), "cluster-alone")
    newest = max(node["seq"] for node in summary["nodes"])
    for node in summary["nodes"]:
        faults = list(_faults(node, own, newest))
        for what, fix in faults:
            yield failed(CHECK, say("{name}: {what}", name=node["name"], what=what), fix)
        if not faults:
            role = "leads" if node["leads"] else "follows"
            yield passed(
                CHECK,
                say(
                    "{name} {role}, at event {seq:,}", name=node["name"], role=role, seq=node["seq"]
                ),
            )


def _faults(node: Json, own: Json, newest: int) -> Iterator[tuple[str, Remedy]]:
    """Yield what is wrong with a node, and the fix."""
    if abs(node["clock_s"]) > MAX_CLOCK_S:
        yield (
            say("its clock differs by {clock_s:.1f} s", clock_s=node["clock_s"]),
            remedy("clock-skew"),
        )
    if newest - node["seq"] > MAX_LAG:
        yield say("it lacks {newest:,} events", newest=newest - node["seq"]), remedy("cluster-lags")
    if node["config"] != own["config"]:
        yield say("its configuration differs from the one here"), remedy("cluster-configuration")
    if node["is_missing"]:
        version = say(
            "it has version {version}, which cannot read all kinds of events",
            version=node["version"],
        )
        yield version, remedy("cluster-version")
    url = f"{node['url'].rstrip('/')}/healthz"
    try:
        with urlopen(url, timeout=PATIENCE_S):  # noqa: S310 (the url of a node's configuration)
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        yield (
            say("cannot be reached at {url}: {why}", url=url, why=why),
            remedy("cluster-url", url=node["url"]),
        )
