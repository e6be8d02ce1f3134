"""`wxgpt doctor`: what works and what does not, each with the fix."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from wxgpt import options, render
from wxgptd.errors import WxgptError
from wxgptd.loose import Json

if TYPE_CHECKING:
    from wxgpt.diagnosis.finding import Finding

MARKS = {True: "✔", False: "✘", None: "–"}
COLOURS = {True: "green", False: "red", None: "yellow"}


class SomethingIsWrong(WxgptError):
    """something is wrong"""


@click.command("doctor")
@options.output_option("text", "json")
def command(output: str) -> None:
    """Look at everything between WeChat and the models, and say what to mend.

    The configuration, the state directory, the daemon and its log, the port, the public address as
    WeChat sees it, certificates, clocks, the unit, versions; each model is asked for one token,
    which costs that much. Exits with 1 where anything is wrong (✘); – is what could not be
    looked at.

    \b
    Examples:
      wxgpt doctor
      sudo wxgpt doctor               sees the daemon's files too
      wxgpt doctor --json
    """
    from wxgpt.diagnosis.chinese import in_chinese

    found: list[Finding] = []
    for finding in _look():
        found.append(finding)
        if output == "text":
            mark = click.style(MARKS[finding.ok], fg=COLOURS[finding.ok])
            click.echo(f"{mark} {finding.check}: {render.printable(finding.detail)}")
            if finding.fix:
                click.echo(f"  fix: {finding.fix}")
                if chinese := in_chinese(finding.fix):
                    click.echo(f"  改法: {chinese}")
    if output == "json":
        click.echo(render.dumps([_as_json(one) for one in found]))
    wrong = sum(one.ok is False for one in found)
    if wrong:
        raise SomethingIsWrong(f"{wrong} of {len(found)} are wrong")


def _look() -> Iterator[Finding]:
    from wxgpt.diagnosis import configuration, daemon, machine, reach
    from wxgpt.diagnosis.finding import bad
    from wxgpt.diagnosis.models import models
    from wxgpt.diagnosis.proxies import proxies
    from wxgptd.config import ConfigError

    path = options.config_path()
    yield from machine.versions()
    yield from machine.zone()
    try:
        config = options.load_config()
    except ConfigError as error:
        for fault in error.faults:
            told = re.fullmatch(r"(.*) \(fix: (.*)\)", fault)
            what, fix = told.groups() if told else (fault, f"in {path}; then wxgpt doctor again")
            yield bad("configuration", what, fix)
        return
    yield from _whole("configuration", configuration.doubtful(path, config))
    yield from _whole("permissions", configuration.permissions(path))
    yield from _whole("state directory", configuration.state_directory(config))
    yield from _whole("unit", machine.unit())
    running = daemon.running()
    yield running
    if running.ok:
        yield from _whole("daemon", daemon.up_to_date(path))
        yield from _whole("clock", daemon.clock())
        yield from _whole("messages", daemon.unanswered(config))
    yield from _whole("log", daemon.log())
    yield from _whole("port", reach.port(config))
    yield from _whole("public address", reach.public(config))
    yield from _whole("clock", reach.clock(config))
    yield from _whole("push", daemon.pushing(config))
    yield from _whole("proxy", proxies(config))
    yield from _whole("assistants", models(config, reachable=bool(running.ok)))


def _whole(check: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield `findings`; what hinders one look is a finding, and hinders no other."""
    from wxgpt.diagnosis.finding import bad

    try:
        yield from findings
    except WxgptError as error:
        yield bad(check, str(error), error.hint or "see above")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        yield bad(check, f"could not be looked at: {why}", "try sudo wxgpt doctor")


def _as_json(finding: Finding) -> Json:
    said = dataclasses.asdict(finding)
    return {**said.pop("more"), **said}
