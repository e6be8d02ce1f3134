"""Check the running daemon: its health, its push access, and whether its log is intact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from wxgpt import control, options, render
from wxgpt.diagnosis.finding import MAX_SKEW_S, Finding, failed, notice, passed, skipped
from wxgpt.failures import Forbidden, Unreachable
from wxgptd import __version__
from wxgptd.errors import WxgptError
from wxgptd.wording import listed, reason, say

if TYPE_CHECKING:
    from wxgptd.config import Config

PUSH_PATIENCE_S = 20.0


def running() -> Finding:
    """Check that the daemon is running and healthy."""
    try:
        _, status = control.request("GET", "/status")
    except Forbidden as error:
        return failed("daemon", reason(error), "daemon-denied")
    except Unreachable as error:
        return failed("daemon", reason(error), "daemon-unreachable")
    version = status.get("version")
    if version != __version__:
        what = say(
            "the daemon is version {version}, wxgpt is {own}",
            version=version,
            own=__version__,
        )
        return failed("daemon", what, "daemon-outdated")
    if not status.get("ready") and status.get("cluster_leading") is None:
        return failed("daemon", say("still replaying its log"), "daemon-starting")
    if not status.get("healthy", True):
        what = say("health check failed: {why_unhealthy}", why_unhealthy=status["why_unhealthy"])
        return failed("daemon", what, "daemon-unhealthy")
    if status.get("disk_full"):
        return failed("daemon", say("disk full: new questions are rejected"), "disk-full")
    return passed(
        "daemon",
        say(
            "version {version}, running for {uptime_s:.0f} s",
            version=version,
            uptime_s=status.get("uptime_s", 0),
        ),
    )


def up_to_date(path: Path) -> Iterator[Finding]:
    """Compare the daemon's configuration with the file."""
    changes = control.reload(path.absolute(), options.read_config(path), dry=True)
    check = "daemon"
    if faults := changes.get("faults"):
        yield failed(
            check,
            say("a reload of {path} would be rejected: {faults}", path=path, faults=faults[0]),
            "reload-rejected",
        )
        return
    if changes["changed"]:
        keys = ", ".join(changes["changed"])
        yield failed(
            check, say("changed since the last reload: {keys}", keys=keys), "reload-pending"
        )
    if changes["takes_restart"]:
        keys = ", ".join(changes["takes_restart"])
        yield failed(check, say("restart required: {keys}", keys=keys), "restart-required")
    if not changes["changed"] and not changes["takes_restart"]:
        yield passed(check, say("{path}: the daemon has loaded the current version", path=path))


def clock() -> Iterator[Finding]:
    """Report this machine's clock offset from WeChat's, measured from the last 24 h of messages."""
    _, status = control.request("GET", "/status")
    ahead_s = status.get("clock_offset_s")
    if ahead_s is None:
        yield skipped("clock", say("no message with a usable CreateTime in the last 24 h"))
        return
    # The smallest difference, which may include the message's time in transit.
    shown = (
        say(
            "at most {s:.1f} s ahead of WeChat's (smallest difference in 24 h)",
            s=ahead_s,
        )
        if ahead_s > 0
        else say(
            "WeChat's is at least {s:.1f} s ahead (smallest difference in 24 h)",
            s=-ahead_s,
        )
    )
    if abs(ahead_s) > MAX_SKEW_S:
        yield failed("clock", shown, "clock-skew", offset_s=ahead_s)
    else:
        yield passed("clock", shown, offset_s=ahead_s)


def unanswered(config: Config) -> Iterator[Finding]:
    """Report how many messages from users went unanswered."""
    _, status = control.request("GET", "/status")
    for name, counts in status.get("unanswered", {}).items():
        check = say("messages {name}", name=name)
        counted = {day: counts[day] for day in ("yesterday", "today") if counts[day]}
        if not counted:
            yield passed(check, say("none went unanswered yesterday or today"))
            continue
        parts: list[str] = []
        if count := counts["yesterday"]:
            shown = render.counted(count, "message")
            parts.append(say("{count} went unanswered yesterday", count=shown))
        if count := counts["today"]:
            shown = render.counted(count, "message")
            parts.append(say("{count} went unanswered today", count=shown))
        detail = listed(parts, ", ")
        account = config.account.get(name)
        needs_command = account is not None and not account.open_without_command
        fix = "messages-unanswered" if needs_command else "messages-without-rule"
        yield notice(check, detail, fix, **counted)


def pushing(config: Config) -> Iterator[Finding]:
    """Check that WeChat's API accepts this machine, for the accounts that push."""
    for name, account in config.account.items():
        if account.push != "auto" or not account.app_secret:
            continue
        check = say("push {name}", name=name)
        path = f"/accounts/{quote(name, safe='')}/try"
        try:
            status, result = control.request("POST", path, timeout_s=PUSH_PATIENCE_S)
        except Unreachable as error:
            yield failed(check, reason(error), "push-timeout")
            continue
        if status != 200:
            yield failed(check, say("the daemon has not loaded this account"), "reload-pending")
        elif result["ok"]:
            yield passed(check, say("WeChat's API accepts this machine"))
        else:
            yield failed(check, result["detail"], "push-rejected")


def log() -> Iterator[Finding]:
    """Read the whole log and report the first damage."""
    from wxgptd.eventlog import verifying

    try:
        verdict = verifying.verify(*options.open_log())
        events = sum(info.events for info in verdict.segments)
    except (WxgptError, OSError) as error:
        if isinstance(error, WxgptError) and error.exit_status == 5:
            yield failed("log", reason(error), "log-damaged")
        else:
            yield skipped("log", reason(error))
        return
    if verdict.is_sound:
        yield passed(
            "log", say("{events}, intact", events=render.counted(events, "event")), events=events
        )
    else:
        yield failed("log", next(iter(verdict.lines)), "log-damaged", events=events)
