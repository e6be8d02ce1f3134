"""What the operator says of a first configuration: by options, or asked for at a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

import click

from wxgpt.failures import UsageFailure
from wxgpt.setup import configuration
from wxgpt.setup.providers import PROVIDERS, Provider

SYSTEM_CONFIG = Path("/etc/wxgptd/wxgptd.toml")
SYSTEM_STATE = Path("/var/lib/wxgptd")

_DOMAIN = r"(?=.{4,190}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]+"


class Place(NamedTuple):
    """Where things go: `system` is for all of the machine, below `root`."""

    root: Path
    system: bool
    config: Path
    listen: str
    port: int
    account: str

    def below(self, path: Path) -> Path:
        """Return where `path` is, seen from here."""
        return self.root / path.relative_to("/")


class Interview:
    """Asks for what was not `given`, on a terminal; elsewhere it names the option that is missing.

    All of it raises UsageFailure for what cannot be.
    """

    def __init__(self, place: Place, given: Mapping[str, object]) -> None:
        self._place = place
        self._given = given

    def wanted(self) -> configuration.Wanted:
        """Return what the configuration is to say."""
        preset = self._provider()
        address = "Address of the API (base_url) · 接口地址"
        base_url = self._value("base_url", address, preset.base_url)
        model = self._value("model", "Model · 模型", preset.model, ask=not self._given["provider"])
        api_key = self._api_key(preset) if preset.keys else ""
        domain = self._domain()
        app_id = self._app_id()
        state_dir = self._given["state_dir"]
        default = SYSTEM_STATE if self._place.system else self._place.config.parent / "state"
        return configuration.Wanted(
            domain=domain,
            listen=f"tcp:{self._place.port}:interface={self._place.listen}",
            state_dir=Path(str(state_dir)).absolute() if state_dir else default,
            account=self._place.account,
            token=configuration.make_token(),
            app_id=app_id,
            aes_key=configuration.make_aes_key(),
            assistant=str(self._given["assistant"]),
            base_url=base_url,
            api_key=api_key,
            model=model,
            more=preset.more,
        )

    def _provider(self) -> Provider:
        name = self._given["provider"]
        if not name and self._given["base_url"]:
            name = "other"
        if not name:
            if _on_terminal():
                click.echo("Whose model? · 用谁家的模型？", err=True)
                for known, one in PROVIDERS.items():
                    click.echo(f"  {known:<12} {one.title}", err=True)
            name = self._required("provider", "Provider · 服务商", "deepseek")
        if name not in PROVIDERS:
            known_ones = ", ".join(PROVIDERS)
            raise UsageFailure(f"there is no provider {name}", hint=f"known: {known_ones}")
        return PROVIDERS[str(name)]

    def _value(self, key: str, prompt: str, default: str, *, ask: bool = False) -> str:
        """Return what was given, what is known, or what the operator says."""
        if given := self._given[key]:
            return str(given)
        if default and not (ask and _on_terminal()):
            return default
        return self._required(key, prompt, default)

    def _required(self, key: str, prompt: str, default: str = "") -> str:
        if not _on_terminal():
            option = f"--{key.replace('_', '-')}"
            raise UsageFailure(f"{option} is missing, and there is no terminal to ask at")
        said: str = click.prompt(prompt, default=default or None, err=True)
        return said.strip()

    def _api_key(self, preset: Provider) -> str:
        file = self._given["api_key_file"]
        if file is not None:
            stream: IO[str] = file  # type: ignore[assignment]
            key = stream.read().strip()
        elif given := os.environ.get("WXGPT_API_KEY"):
            key = given.strip()
        elif _on_terminal():
            click.echo(f"API key (made at · 在这里创建: {preset.keys})", err=True)
            key = click.prompt("API key · 密钥", hide_input=True, err=True).strip()
        else:
            raise UsageFailure(
                "--api-key-file is missing, and there is no terminal to ask at",
                hint="or set WXGPT_API_KEY in the environment",
            )
        if not key or re.search(r"[^\x21-\x7e]", key):
            raise UsageFailure("that is no API key: it is empty, or has a space in it")
        return key

    def _domain(self) -> str:
        prompt = "Domain, such as chat.example.com · 域名"
        said = str(self._given["domain"] or "") or self._required("domain", prompt)
        host = re.sub(r"^https?://", "", said).strip("/").lower()
        if not re.fullmatch(
            r"(?=.{4,190}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]+", host
        ):
            raise UsageFailure(
                f"{said!r} is no domain",
                hint="WeChat and phones need a name such as chat.example.com, without a path",
            )
        return host

    def _app_id(self) -> str:
        given = str(self._given["app_id"] or "")
        if self._given["plain"]:
            if given:
                raise UsageFailure("give --app-id (safe mode) or --plain, not both")
            return ""
        if not given:
            if not _on_terminal():
                raise UsageFailure(
                    "--app-id is missing, and there is no terminal to ask at",
                    hint="it is in WeChat's backend: 设置与开发 → 基本配置; or use --plain",
                )
            click.echo(
                "AppID: 设置与开发 → 基本配置 → 开发者ID(AppID). "
                "Empty: plain text mode · 留空就是明文模式",
                err=True,
            )
            given = click.prompt("AppID", default="", show_default=False, err=True).strip()
        if given and not re.fullmatch(r"wx[0-9a-zA-Z]{6,30}", given):
            raise UsageFailure(f"{given!r} is no AppID: it begins with wx")
        return given

    def wants_units(self) -> bool:
        """Tell whether to write units."""
        wanted = self._given["systemd"]
        if wanted is not None:
            if wanted and not self._place.system:
                raise UsageFailure("units for systemd are root's to write", hint="sudo wxgpt init")
            return bool(wanted)
        if not self._place.system or not self._place.below(Path("/etc/systemd/system")).is_dir():
            return False
        return not _on_terminal() or click.confirm(
            "Write units for systemd · 写 systemd 的单元文件?", default=True, err=True
        )

    def wants_web(self) -> str:
        """Return which web server to write a site for: caddy, nginx or none."""
        wanted = self._given["web"]
        if wanted or not self._place.system or not _on_terminal():
            return str(wanted or "none")
        return str(
            click.prompt(
                "Web server in front · 前面的网站服务器",
                type=click.Choice(["caddy", "nginx", "none"]),
                default="caddy",
                err=True,
            )
        )


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
