"""Files besides the configuration: systemd units, and a site for nginx or Caddy.

They are the files in `etc/`, with this installation's paths and the operator's domain filled in.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from wxgpt.failures import UsageFailure
from wxgpt.options import SYSTEM_CONFIG
from wxgptd.wording import say

UNITS = ("wxgptd.service", "wxgptd.socket")
EXAMPLE_DOMAIN = "chat.example.com"
EXAMPLE_PORT = "127.0.0.1:9005"
EXAMPLE_BIN = "/opt/wxgptd/bin"


def nginx_site(root: Path, domain: str) -> Path:
    """Return where the site for nginx goes.

    nginx does not start with a site whose certificate does not exist yet, so on this machine it is
    not enabled before that.
    """
    enabled = Path("/etc/nginx/conf.d/wxgptd.conf")
    certificate = Path("/etc/letsencrypt/live") / domain / "fullchain.pem"
    is_ready = root != Path("/") or certificate.exists()
    return enabled if is_ready else enabled.with_name(f"{enabled.name}.disabled")


def shipped(name: str) -> str:
    """Return the text of a file in `etc/`, from the package or the checkout.

    Raises:
        UsageFailure: it is in neither.
    """
    here = Path(__file__).resolve()
    for base in (here.parent.parent / "etc", here.parents[3] / "etc"):
        if (base / name).exists():
            return (base / name).read_text("utf-8")
    raise UsageFailure(
        say("{name} is missing from this installation", name=name), hint=say("reinstall wxgptd")
    )


def units(config: Path, listen: str, port: int) -> dict[str, str]:
    """Return the units by name, for this installation.

    Raises:
        UsageFailure: the unit's sandbox hides the installation, or the configuration's path has
            characters that are special to systemd.
    """
    programs = Path(sys.prefix) / "bin"
    if str(programs).startswith(("/home/", "/root/", "/run/user/")):
        raise UsageFailure(
            say(
                "wxgptd is installed in {programs}, which a systemd service cannot read",
                programs=programs,
            ),
            hint=say(
                "python3 -m venv /opt/wxgptd && /opt/wxgptd/bin/pip install ., then "
                "{example_bin}/wxgpt init",
                example_bin=EXAMPLE_BIN,
            ),
        )
    if not re.fullmatch(r"/[A-Za-z0-9_./-]+", str(config)):
        raise UsageFailure(
            say("{config} contains characters that are special to systemd", config=config),
            hint=say("keep the configuration in {system_config}", system_config=SYSTEM_CONFIG),
        )
    texts = {name: shipped(name) for name in UNITS}
    return {
        name: text.replace(EXAMPLE_BIN, str(programs))
        .replace(str(SYSTEM_CONFIG), str(config))
        .replace(EXAMPLE_PORT, f"{listen}:{port}")
        for name, text in texts.items()
    }


def site(name: str, domain: str, upstream: str) -> str:
    """Return the site for a web server: `nginx.conf` or `Caddyfile`."""
    return shipped(name).replace(EXAMPLE_DOMAIN, domain).replace(EXAMPLE_PORT, upstream)


def write_new(path: Path, text: str, mode: int) -> None:
    """Write a new file, completely or not at all.

    Raises:
        UsageFailure: the file exists.
    """
    data = text.encode()  # encode first, so that a failure leaves no empty file
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        raise UsageFailure(
            say("{path} exists; nothing was changed", path=path),
            hint=say("edit it, or move it away first"),
        ) from None
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        path.unlink()
        raise
