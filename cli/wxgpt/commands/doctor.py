"""`wxgpt doctor`: what works, what does not, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from wxgpt import options, render
from wxgpt.language import current, shown, spoken
from wxgptd.errors import WxgptError
from wxgptd.wording import reason, say

if TYPE_CHECKING:
    from wxgpt.diagnosis.finding import Finding

MARKS = {True: "✔", False: "✘", None: "–"}
COLOURS = {True: "green", False: "red", None: "yellow"}


class ChecksFailed(WxgptError):
    """a check failed"""


@click.command("doctor")
@options.output_option("text", "json")
def command(output: str) -> None:
    """Check everything between WeChat and the models, and suggest fixes.

    Checks the configuration, the state directory, the daemon and its log, the port, the public
    address as WeChat sees it, certificates, clocks, the systemd unit and versions. Requests one
    token from each model, which is billed. Exits with 1 if a check failed (✘); – marks skipped
    checks and notes.

    \b
    Examples:
      wxgpt doctor
      sudo wxgpt doctor               sees the daemon's files too
      wxgpt doctor --json
    """
    findings: list[Finding] = []
    for finding in _check_all():
        findings.append(finding)
        if output == "text":
            mark = click.style(MARKS[finding.ok], fg=COLOURS[finding.ok])
            detail = render.printable(shown(finding.detail))
            colon = "：" if current() == "zh" else ": "
            click.echo(f"{mark} {shown(finding.check)}{colon}{detail}")
            if finding.remedy.id:
                click.echo(spoken("  fix: {remedy}", remedy=finding.remedy.text))
    if output == "json":
        click.echo(render.dumps([finding.as_json() for finding in findings]))
    failed = sum(finding.ok is False for finding in findings)
    if failed:
        raise ChecksFailed(
            say(
                "{count} of {checks} failed",
                count=failed,
                checks=render.counted(len(findings), "check"),
            )
        )


def _check_all() -> Iterator[Finding]:
    from wxgpt.diagnosis import configuration, daemon, machine, reach
    from wxgpt.diagnosis.cluster import cluster
    from wxgpt.diagnosis.finding import failed
    from wxgpt.diagnosis.models import models
    from wxgpt.diagnosis.proxies import proxies
    from wxgpt.diagnosis.remedies import remedy
    from wxgptd.config import ConfigError

    path = options.config_path()
    yield from machine.versions()
    yield from machine.zone()
    try:
        config = options.load_config()
    except ConfigError as error:
        for fault in error.faults:
            hint = getattr(fault, "values", {}).get("fix")
            fix = (
                remedy("see-detail", hint=hint)
                if hint
                else remedy("configuration-invalid", path=path)
            )
            yield failed("configuration", fault, fix)
        return
    yield from _guarded("configuration", configuration.doubtful(path, config))
    yield from _guarded("permissions", configuration.permissions(path))
    yield from _guarded("state directory", configuration.state_directory(config))
    yield from _guarded("unit", machine.unit())
    running = daemon.running()
    yield running
    if running.ok:
        yield from _guarded("daemon", daemon.up_to_date(path))
        yield from _guarded("clock", daemon.clock())
        yield from _guarded("messages", daemon.unanswered(config))
    yield from _guarded("cluster", cluster(config, running=bool(running.ok)))
    yield from _guarded("log", daemon.log())
    yield from _guarded("port", reach.port(config, running=bool(running.ok)))
    yield from _guarded("public address", reach.public(config, running=bool(running.ok)))
    yield from _guarded("clock", reach.clock(config))
    yield from _guarded("push", daemon.pushing(config))
    yield from _guarded("proxy", proxies(config))
    yield from _guarded("assistants", models(config, reachable=bool(running.ok)))


def _guarded(check: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield `findings`; turn an error in a check into a finding, so that other checks still run."""
    from wxgpt.diagnosis.finding import failed
    from wxgpt.diagnosis.remedies import remedy

    try:
        yield from findings
    except WxgptError as error:
        yield failed(
            check, reason(error), remedy("see-detail", hint=error.hint or say("see above"))
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        yield failed(check, say("could not be checked: {why}", why=why), "needs-root")
