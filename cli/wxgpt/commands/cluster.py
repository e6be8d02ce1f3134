"""`wxgpt cluster`: create a cluster, look at it, and hand over the lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wxgpt import control, options, render
from wxgpt.cluster_access import NoCluster, access
from wxgpt.language import spoken
from wxgptd.errors import WxgptError
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgptd import config as cfg

STEPPING_DOWN_S = 15.0

BEATS_WITHIN_S = 2.5
"""A node sends a beat every two seconds."""

GONE_AFTER_S = 5.0
"""A node says every two seconds that it runs."""


class NodesRun(WxgptError):
    """nodes of the cluster are running"""


class CannotStepDown(WxgptError):
    """the node cannot hand over the lead"""


@click.group("cluster")
def command() -> None:
    """Create a cluster of several machines, look at it, and hand over the lead.

    \b
    Examples:
      wxgpt cluster init
      wxgpt cluster status
      wxgpt cluster step-down
    """


@command.command("init")
@click.option(
    "--copies",
    type=click.IntRange(1, 5),
    default=3,
    show_default=True,
    metavar="N",
    help="How many NATS servers keep everything.",
)
@click.option(
    "--replace", is_flag=True, help="Begin again: delete what the servers have of this cluster."
)
@click.option("-y", "--yes", is_flag=True, help="With --replace: do not ask.")
def init(copies: int, replace: bool, yes: bool) -> None:
    """Create the cluster that [cluster] describes. Its log continues the one on this machine.

    Run this once, on the first node. Then restart the daemon here, and set up the other nodes with
    `wxgpt backup` on this machine and `wxgpt restore` there.

    \b
    Examples:
      wxgpt cluster init
      wxgpt cluster init --copies 1   to try it out with a single NATS server
    """
    from wxgptd.eventlog.shipping.sending import position_of
    from wxgptd.replication import creating

    config = options.load_config()
    cluster = _required(config)
    state_dir = config.server.state_dir
    master, link_key = _keys(config)
    after = position_of(state_dir).seq
    with creating.reached(access(cluster), cluster.name) as servers:
        if servers.hears_a_node(BEATS_WITHIN_S):
            raise NodesRun(
                say("nodes of the cluster {name} are running", name=cluster.name),
                hint=say("`wxgpt cluster status` lists them; stop all of them first"),
            )
        if replace:
            if not yes:
                click.confirm(
                    spoken(
                        "Continue from event {after} of the log here? Events that only other nodes "
                        "have are lost",
                        after=after,
                    ),
                    abort=True,
                )
            servers.delete()
        servers.create(master, link_key, after, cluster.keep, copies)
    click.echo(
        spoken(
            "created the cluster {name}, whose log continues after event {after} of the "
            "one in {state_dir}",
            name=cluster.name,
            after=after,
            state_dir=state_dir,
        )
    )
    click.echo(spoken("next: restart the daemon here, before anything else is written to its log"))


def _keys(config: cfg.Config) -> tuple[bytes, bytes]:
    """Return the master key and the link key of this machine."""
    from wxgptd.eventlog import master_key, segments

    path = segments.keys_directory(config.server.state_dir) / "links"
    try:
        link_key = path.read_bytes()
    except FileNotFoundError:
        raise NoCluster(
            say("{path} is missing: the daemon has not run here yet", path=path),
            hint=say("start it once without [cluster]: that makes the keys which all nodes share"),
        ) from None
    if config.log.master_key:
        return master_key.parse_master(config.log.master_key.reveal()), link_key
    return master_key.own_master(config.server.state_dir), link_key


def _required(config: cfg.Config) -> cfg.Cluster:
    if not config.cluster.name:
        raise NoCluster(
            say("{config_path} has no [cluster]", config_path=options.config_path()),
            hint=say("see docs/cluster.md for an example"),
        )
    return config.cluster


@command.command("status")
@options.output_option("text", "json")
def status(output: str) -> None:
    """Show the nodes, which one leads, and what each lacks.

    \b
    Examples:
      wxgpt cluster status
      wxgpt cluster status --json
    """
    code, summary = control.request("GET", "/cluster")
    if code == 404:
        raise NoCluster(say("the daemon here is alone: its configuration has no [cluster]"))
    control.require_ready(code)
    if output == "json":
        click.echo(render.dumps(summary))
        return
    leader = summary["leader"]
    click.echo(
        spoken("cluster {cluster}: {leader} leads", cluster=summary["cluster"], leader=leader)
        if leader
        else spoken("no node leads at the moment")
    )
    if summary["is_stalled"]:
        click.echo(
            spoken(
                "the NATS servers store nothing: no quorum of them runs. No message is answered."
            )
        )
    newest = max(node["seq"] for node in summary["nodes"])
    for number, node in enumerate(summary["nodes"]):
        role = (
            spoken("leads")
            if node["leads"]
            else spoken("{newest:,} events to catch up on", newest=newest - node["seq"])
        )
        heard = (
            spoken("this node")
            if number == 0
            else spoken("heard {silent_s:.1f} s ago", silent_s=node["silent_s"])
        )
        if node["silent_s"] > GONE_AFTER_S:
            role, heard = (
                spoken("does not run"),
                spoken("last heard {silent_s:.0f} s ago", silent_s=node["silent_s"]),
            )
        click.echo(
            spoken(
                "  {node}  event {seq:>12,}  {role}, {heard}, version {version}, {url}",
                node=render.pad(node["name"], 16),
                seq=node["seq"],
                role=role,
                heard=heard,
                version=node["version"],
                url=node["url"],
            )
        )


@command.command("step-down")
def step_down() -> None:
    """Let another node lead, for example before maintenance. Users who are waiting do not notice.

    \b
    Examples:
      wxgpt cluster step-down
    """
    code, result = control.request("POST", "/cluster/step-down", timeout_s=STEPPING_DOWN_S)
    if code == 404:
        raise NoCluster(say("the daemon here is alone: its configuration has no [cluster]"))
    if code == 409 and result["others"] is None:
        leader = result["leader"]
        raise CannotStepDown(
            say("this node does not lead: {leader} does", leader=leader)
            if leader
            else say("no node leads at the moment"),
            hint=say("run the command on {leader}", leader=leader)
            if leader
            else say("see `wxgpt doctor`"),
        )
    if code == 409:
        raise CannotStepDown(
            say(
                "no other node can take over at the moment: none was heard lately that has "
                "every event, or the NATS servers store nothing"
            ),
            hint=say("see `wxgpt cluster status`, and `wxgpt doctor`"),
        )
    control.require_ready(code)
    click.echo(spoken("handed over; ready to lead: {others}", others=", ".join(result["others"])))
