"""Check the machine: the versions of wxgptd's dependencies, the time zone, and the systemd unit."""

from __future__ import annotations

import platform
import pyexpat
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version

from wxgpt.diagnosis.finding import Finding, failed, passed, skipped
from wxgptd.wording import say

PYTHONS = ((3, 11), (3, 14))
EXPAT_NEEDED = (2, 4, 0)
"""The first version that limits entity expansion (the billion laughs attack)."""

UNIT = "wxgptd.service"
SOCKET = "wxgptd.socket"
RESTARTS = 3


def versions() -> Iterator[Finding]:
    """Check the versions of Python, Twisted, OpenSSL and expat."""
    least, most = PYTHONS
    number = platform.python_version()
    if not least <= sys.version_info[:2] <= most:
        supported = say(
            "{least}.{least_minor} to {most}.{most_minor}",
            least=least[0],
            least_minor=least[1],
            most=most[0],
            most_minor=most[1],
        )
        yield failed(
            "python",
            say(
                "{number} is not supported (needs {supported})", number=number, supported=supported
            ),
            "python-unsupported",
        )
    else:
        yield passed("python", number)
    from OpenSSL import SSL

    # The version, without its release date.
    tls = " ".join(SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode().split()[:2])
    yield passed(
        "libraries",
        say(
            "Twisted {version}, treq {treq}, {tls}",
            version=version("twisted"),
            treq=version("treq"),
            tls=tls,
        ),
    )
    expat = pyexpat.EXPAT_VERSION.removeprefix("expat_")
    numbers = tuple(int(part) for part in re.findall(r"\d+", expat))
    if numbers < EXPAT_NEEDED:
        yield failed(
            "expat", say("{expat} is too old for untrusted XML", expat=expat), "expat-too-old"
        )
    else:
        yield passed("expat", expat)


def zone() -> Iterator[Finding]:
    """Check the time zone, which determines how times are shown and when days begin."""
    name = time.tzname[0]
    if not time.timezone and not time.daylight:
        yield skipped(
            "time zone", say("UTC, also for times on pages and for daily limits; to change it: "
"timedatectl set-timezone Asia/Shanghai && systemctl restart wxgptd"),
        )  # fmt: skip
    else:
        yield passed("time zone", name)


def unit() -> Iterator[Finding]:
    """Check the systemd unit, if it is installed."""
    names = "LoadState,ActiveState,UnitFileState,NRestarts,Result,ExecMainStatus"
    properties = _properties(UNIT, names)
    if not properties or properties.get("LoadState") == "not-found":
        yield skipped("unit", say("{unit} is not installed", unit=UNIT))
        return
    state, enablement = properties.get("ActiveState", ""), properties.get("UnitFileState", "")
    restarts = int(properties.get("NRestarts") or 0)
    if state != "active":
        result, status = properties.get("Result"), properties.get("ExecMainStatus")
        detail = say(
            "{unit} is {state} ({result}, exit status {status})",
            unit=UNIT,
            state=state,
            result=result,
            status=status,
        )
        yield failed("unit", detail, "unit-inactive")
    elif restarts >= RESTARTS:
        detail = say(
            "{unit} has restarted {restarts} times since it was started",
            unit=UNIT,
            restarts=restarts,
        )
        yield failed("unit", detail, "unit-restarting")
    elif enablement not in ("enabled", "enabled-runtime", "static", "generated"):
        yield failed(
            "unit", say("{unit} is {enablement}", unit=UNIT, enablement=enablement), "unit-disabled"
        )
    else:
        yield passed(
            "unit",
            say("{unit} is {state}, {enablement}", unit=UNIT, state=state, enablement=enablement),
        )
    socket = _properties(SOCKET, "LoadState,ActiveState")
    if socket.get("LoadState") == "loaded" and socket.get("ActiveState") != "active":
        detail = say(
            "{socket} is {state}, so connections are refused during a restart",
            socket=SOCKET,
            state=socket.get("ActiveState"),
        )
        fix = "systemctl stop wxgptd && systemctl enable --now wxgptd.socket wxgptd"
        yield skipped("unit", say("{detail}; to change that: {fix}", detail=detail, fix=fix))


def passed_socket() -> str:
    """Return the address that systemd listens on for the daemon, or "" if it does not."""
    properties = _properties(SOCKET, "ActiveState,Listen")
    address = re.match(r"([0-9.]+:[0-9]+) \(Stream\)", properties.get("Listen", ""))
    return address.group(1) if address and properties.get("ActiveState") == "active" else ""


def _properties(unit: str, names: str) -> dict[str, str]:
    program = shutil.which("systemctl")
    if program is None:
        return {}
    try:
        process = subprocess.run(
            [program, "show", unit, "-p", names],
            capture_output=True, encoding="utf-8", timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split("=", 1) for line in process.stdout.splitlines() if "=" in line)
