"""`wxgpt init`: from nothing to a configuration, units and a site; and an account's key changed."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

import click

from wxgpt.failures import UsageFailure
from wxgpt.setup.providers import PROVIDERS


@click.command("init")
@click.option("--provider", metavar="NAME", help=f"Whose model: {', '.join(PROVIDERS)}.")
@click.option("--base-url", metavar="URL", help="Where its API is, if not known by --provider.")
@click.option("--model", metavar="NAME", help="The model.")
@click.option("--api-key-file", type=click.File("rb"), metavar="FILE",
              help="A file with the API key; - reads it from standard input.")  # fmt: skip
@click.option("--daily-budget", type=click.FloatRange(0), metavar="AMOUNT",
              help="What a day may cost, in the prices' currency; 0: no bound.")  # fmt: skip
@click.option("--fit/--no-fit", default=False,
              help="Ask the model for answers that fit the time WeChat waits.")  # fmt: skip
@click.option("--only-ai/--shared", default=None,
              help="Whether nothing but the AI answers: no command is needed then.")  # fmt: skip
@click.option("--domain", metavar="HOST", help="The domain that WeChat and phones reach you at.")
@click.option("--app-id", metavar="ID", help="The account's AppID (开发者ID), for safe mode.")
@click.option("--plain", is_flag=True, help="Plain text instead of safe mode: needs no AppID.")
@click.option("--account", metavar="NAME", help="What to call the account.  [default: main]")
@click.option("--assistant", default="chatgpt", show_default=True, metavar="NAME",
              help="What to call the assistant; /NAME opens a session.")  # fmt: skip
@click.option("--listen", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Where the daemon listens; 0.0.0.0 in a container.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65_535), default=9005, show_default=True,
              help="And on which port.")  # fmt: skip
@click.option("--state-dir", type=click.Path(path_type=Path), metavar="DIR",
              help="Where the log and its keys are.")  # fmt: skip
@click.option("--systemd/--no-systemd", default=None, help="Write units for systemd, or not.")
@click.option("--web", type=click.Choice(["caddy", "nginx", "none"]),
              help="Write a site for the web server in front.")  # fmt: skip
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write below DIR instead of /, as for an image.")  # fmt: skip
@click.option("--rotate-aes-key", is_flag=True, help="Change an account's EncodingAESKey instead.")
@click.option("--finish", is_flag=True, help="The last step of that: forget the former key.")
def command(rotate_aes_key: bool, finish: bool, account: str | None, **given: object) -> None:
    """Write a first configuration, and say what to enter in WeChat's backend.

    It asks for what was not given; without a terminal it asks for nothing, and names the option
    that is missing. A Token and an EncodingAESKey are made. The API key is never an argument: it
    is asked for, read from a file, or taken from the environment (WXGPT_API_KEY). Nothing that
    exists is overwritten.

    With --rotate-aes-key the configuration gets a new key beside the former one; the daemon takes
    both until --finish, so that no message is lost.

    \b
    Examples:
      sudo wxgpt init
      sudo wxgpt init --provider deepseek --domain chat.example.com --app-id wx0123 --web caddy
      wxgpt init --provider ollama --domain chat.example.com --plain --no-systemd
      wxgpt init --rotate-aes-key
      wxgpt init --rotate-aes-key --finish
    """
    if rotate_aes_key:
        from wxgpt.setup.keys import rotate

        rotate(account, finish=finish)
    elif finish:
        raise UsageFailure("--finish is the last step of --rotate-aes-key", hint="give both")
    else:
        _Setup(account or "main", given).run()


class _Setup:
    """One run of it: what was given, what is asked for, what is written."""

    def __init__(self, account: str, given: dict[str, object]) -> None:
        from wxgpt.setup.files import SYSTEM_CONFIG
        from wxgpt.setup.interview import Interview, Place

        system = os.geteuid() == 0 or given["root"] is not None
        named = (click.get_current_context().find_root().obj or {}).get("config")
        default = SYSTEM_CONFIG if system else Path.cwd() / "wxgptd.toml"
        self._place = Place(
            root=Path(str(given["root"] or "/")),
            system=system,
            config=Path(named).absolute() if named else default,
            listen=str(given["listen"]),
            port=int(str(given["port"])),
            account=account,
        )
        self._assistant = str(given["assistant"])
        self._interview = Interview(self._place, given)

    def run(self) -> None:
        """Ask, write, and say what is next."""
        from wxgpt.setup import configuration, files
        from wxgpt.setup.steps import steps

        place = self._place
        target = place.below(place.config)
        if target.exists():
            raise UsageFailure(
                f"{target} exists; nothing was changed",
                hint="edit it and run `wxgpt check`, or name another one with --config; "
                "`wxgpt check --backend` shows what to enter in WeChat's backend",
            )
        try:
            ipaddress.IPv4Address(place.listen)
        except ValueError:
            raise UsageFailure(
                f"{place.listen!r} is no IPv4 address to listen on", hint="--listen 127.0.0.1"
            ) from None
        for name in (place.account, self._assistant):
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
                raise UsageFailure(f"{name!r} is no name: letters, digits, - and _ make one")
        wanted = self._interview.wanted()
        units = (
            files.units(place.config, place.listen, place.port)
            if self._interview.wants_units()
            else {}
        )
        web = self._interview.wants_web()
        files.write_new(target, configuration.written(wanted), 0o600)
        self._check(target)
        click.echo(f"written: {target} (only its owner may read it)")
        for name, text in units.items():
            self._write_beside(Path("/etc/systemd/system") / name, text)
        if web == "nginx":
            text = files.site("nginx.conf", wanted.domain, place.upstream)
            self._write_beside(Path("/etc/nginx/conf.d/wxgptd.conf"), text)
        elif web == "caddy":
            self._write_caddy(files.site("Caddyfile", wanted.domain, place.upstream))
        click.echo("\nWhat to do now, in this order · 接下来按顺序：")
        for number, step in enumerate(steps(wanted, place, units=bool(units), web=web), 1):
            click.echo(f"  {number}. {step}")

    def _check(self, target: Path) -> None:
        """See to it that what was written is a configuration, or take it away again."""
        from wxgptd.config import ConfigError, load

        try:
            load(target)
        except ConfigError:
            target.unlink()
            raise

    def _write_beside(self, path: Path, text: str) -> None:
        from wxgpt.setup import files

        target = self._place.below(path)
        try:
            files.write_new(target, text, 0o644)
        except UsageFailure:
            click.echo(f"left as it was: {target}", err=True)
        except OSError as error:
            click.echo(f"not written: {target}: {error.strerror}", err=True)
        else:
            click.echo(f"written: {target}")

    def _write_caddy(self, text: str) -> None:
        self._write_beside(Path("/etc/caddy/wxgptd.Caddyfile"), text)
        main = self._place.below(Path("/etc/caddy/Caddyfile"))
        line = "import /etc/caddy/wxgptd.Caddyfile"
        try:
            said = main.read_text("utf-8") if main.exists() else ""
            if line not in said.splitlines():
                with main.open("a", encoding="utf-8") as file:
                    file.write(f"\n{line}\n" if said else f"{line}\n")
                click.echo(f"written: {main}, one line: {line}")
        except (OSError, UnicodeDecodeError) as error:
            click.echo(f"not written: {main}: {error}; it needs the line: {line}", err=True)
