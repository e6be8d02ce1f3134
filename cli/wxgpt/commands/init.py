"""`wxgpt init`: write the first configuration, or rotate an account's EncodingAESKey."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import current, shown, spoken
from wxgpt.setup.providers import PROVIDERS
from wxgptd.errors import WxgptError
from wxgptd.wording import say

QUESTIONS = {"models": "model", "price_per_million": "proposal", "daily_budget": "proposal"}
"""The question that decides about a key, if its name is another one."""


@click.command("init")
@click.option("--provider", metavar="NAME", help=f"The provider: {', '.join(PROVIDERS)}.")
@click.option("--base-url", metavar="URL", help="API address, if --provider does not imply it.")
@click.option("--model", metavar="NAME", help="The model.")
@click.option("--api-key-file", type=click.File("rb"), metavar="FILE",
              help="A file with the API key; - reads it from standard input.")  # fmt: skip
@click.option("--price", metavar="INPUT/OUTPUT", help="Prices per million tokens, such as 2/8.")
@click.option("--daily-budget", metavar="AMOUNT",
              help="Daily budget, in the currency of the prices; 0: no limit.")  # fmt: skip
@click.option("--questions-per-day", type=click.IntRange(0, 10**9), metavar="N",
              help="Questions that each user may ask a day; 0: no limit.")  # fmt: skip
@click.option("--fit/--no-fit", default=False,
              help="Ask the model for answers short enough for the time WeChat waits.")  # fmt: skip
@click.option("--only-ai/--shared", default=None,
              help="Whether the account is only for AI; then no command is needed.")  # fmt: skip
@click.option("--domain", metavar="HOST", help="The domain that WeChat and phones connect to.")
@click.option("--app-id", metavar="ID", help="The account's AppID (开发者ID), for safe mode.")
@click.option("--plain", is_flag=True, help="Plain text instead of safe mode; needs no AppID.")
@click.option("--account", metavar="NAME", help="Name of the account.  [default: main]")
@click.option("--assistant", default="chatgpt", show_default=True, metavar="NAME",
              help="Name of the assistant; /NAME opens a session.")  # fmt: skip
@click.option("--listen", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address the daemon listens on; 0.0.0.0 in a container.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65_535), default=9005, show_default=True,
              metavar="N", help="Port the daemon listens on.")  # fmt: skip
@click.option("--state-dir", type=click.Path(path_type=Path), metavar="DIR",
              help="Directory for the log and its keys.")  # fmt: skip
@click.option("--systemd/--no-systemd", default=None, help="Whether to write systemd units.")
@click.option("--web", type=click.Choice(["caddy", "nginx", "none"]),
              help="Write a reverse proxy site for this web server.")  # fmt: skip
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write below DIR instead of /, when building an image.")  # fmt: skip
@click.option("--no-try", is_flag=True, help="Do not try the key and the model at the prompt.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run with what was typed.")
@click.option("--rotate-aes-key", is_flag=True, help="Rotate an account's EncodingAESKey instead.")
@click.option("--finish", is_flag=True, help="Finish the rotation: remove the previous key.")
def command(
    rotate_aes_key: bool, finish: bool, account: str | None, resume: bool, **given: object
) -> None:
    """Write a first configuration, and show what to enter in WeChat's backend.

    Prompts for options that were not given; without a terminal it fails and names the missing
    option. The key and the model are tried at once with one token. If it is interrupted, --resume
    continues with what was typed. The Token and the EncodingAESKey are generated. The API key is
    never an argument: it is prompted for, read from a file, or taken from the environment
    (WXGPT_API_KEY). Existing files are never overwritten.

    With --rotate-aes-key the configuration gets a new key in addition to the previous one; the
    daemon accepts both until --finish, so that no message is lost.

    \b
    Examples:
      sudo wxgpt init
      sudo wxgpt init --provider deepseek --domain chat.example.com --app-id wx0123 --web caddy
      wxgpt init --provider ollama --domain chat.example.com --plain --no-systemd
      sudo wxgpt init --resume
      wxgpt init --rotate-aes-key
      wxgpt init --rotate-aes-key --finish
    """
    if rotate_aes_key:
        from wxgpt.setup.keys import rotate

        rotate(account, finish=finish)
    elif finish:
        raise UsageFailure(say("--finish requires --rotate-aes-key"), hint=say("pass both"))
    else:
        _Setup(account or "main", given, resume=resume).run()


class _Setup:
    """One run of `wxgpt init`: collect the options and answers, and write the files."""

    def __init__(self, account: str, given: dict[str, object], *, resume: bool) -> None:
        from wxgpt.options import SYSTEM_CONFIG
        from wxgpt.setup.answers import Answers
        from wxgpt.setup.interview import Interview, Place

        system = os.geteuid() == 0 or given["root"] is not None
        config = (click.get_current_context().find_root().obj or {}).get("config")
        default = SYSTEM_CONFIG if system else Path.cwd() / "wxgptd.toml"
        self._place = Place(
            root=Path(str(given["root"] or "/")),
            system=system,
            config=Path(config).absolute() if config else default,
            listen=str(given["listen"]),
            port=int(str(given["port"])),
            account=account,
        )
        self._assistant = str(given["assistant"])
        self._answers = Answers(resume=resume)
        self._offered: dict[int, str] = {}
        self._left: list[int] = []
        self._steps: dict[int, str] = {}
        self._interview = Interview(self._place, given, self._answers)

    def run(self) -> None:
        """Prompt, write the files, print the next steps, and check everything.

        What was typed is kept if this is interrupted.
        """
        try:
            self._run()
        except (click.exceptions.Abort, KeyboardInterrupt, WxgptError, OSError):
            if self._answers:
                click.echo(
                    spoken(
                        "\nwhat you typed is kept: wxgpt init --resume continues\n"
                        "(to change an answer: wxgpt init --resume --domain chat.example.com)"
                    ),
                    err=True,
                )
            raise
        if self._offered:
            self._start()

    def _run(self) -> None:
        from wxgpt.contexts import require_name
        from wxgpt.setup import configuration, files
        from wxgpt.setup.steps import steps

        place = self._place
        target = place.below(place.config)
        if target.exists():
            raise UsageFailure(
                say("{target} exists; nothing was changed", target=target),
                hint=say(
                    "change it with `wxgpt config set` or `wxgpt config edit`, or choose another "
                    "path with --config; `wxgpt check --backend` shows what to enter in WeChat's "
                    "backend"
                ),
            )
        try:
            ipaddress.IPv4Address(place.listen)
        except ValueError:
            raise UsageFailure(
                say("{listen!r} is not an IPv4 address to listen on", listen=place.listen),
                hint=say("--listen 127.0.0.1"),
            ) from None
        for name in (place.account, self._assistant):
            require_name(name)
        self._require_free_port()
        wanted = self._interview.wanted()
        units = (
            files.units(place.config, place.listen, place.port)
            if self._interview.wants_units()
            else {}
        )
        web = self._interview.wants_web()
        files.write_new(target, configuration.written(wanted), 0o600)
        self._check(target)
        self._answers.drop()
        click.echo(spoken("written: {target} (readable only by its owner)", target=target))
        for name, text in units.items():
            self._write_beside(Path("/etc/systemd/system") / name, text)
        if web == "nginx":
            text = files.site("nginx.conf", wanted.domain, place.upstream)
            self._write_beside(files.nginx_site(place.root, wanted.domain), text)
        elif web == "caddy":
            self._write_caddy(files.site("Caddyfile", wanted.domain, place.upstream))
        click.echo(spoken("\nNext steps, in this order:"))
        for number, step in enumerate(steps(wanted, place, units=bool(units), web=web), 1):
            click.echo(f"  {number}. {shown(step.text)}")
            self._steps[number] = step.text
            if units and place.is_this_machine and step.is_offered:
                self._offered[number] = step.command
            else:
                self._left.append(number)

    def _require_free_port(self) -> None:
        """Check that no other program listens at the port.

        Raises:
            UsageFailure: one does.
        """
        from wxgpt import listening

        holder = listening.holder_of(self._place.port) if self._place.is_this_machine else None
        if holder is not None and not holder.startswith(("wxgptd", "systemd")):
            port = self._place.port
            what = (
                say("port {port} is used by a program of another user", port=port)
                if holder == "?"
                else say("port {port} is used by {holder}", port=port, holder=holder)
            )
            free = port + 10 if port < 65_000 else 9005
            raise UsageFailure(what, hint=say("choose another one: --port {port}", port=free))

    def _start(self) -> None:
        """Start everything if the operator wants it, check it, and say what is left to do."""
        from wxgpt.setup.questions import confirmed, on_terminal

        which = _numbers(self._offered)
        if not on_terminal() or not confirmed(
            say("Start it now, and check everything? ({which} of the list)", which=which)
        ):
            return
        wxgpt = (sys.executable, "-m", "wxgpt", "--lang", current())
        doctor = [*wxgpt, "--config", str(self._place.config), "doctor"]
        for number, command in self._offered.items():
            line = ["/bin/sh", "-c", command] if command else doctor
            if subprocess.run(line, check=False).returncode:
                self._left.append(number)
        click.echo(spoken("\nStill to do:"))
        for number in sorted(self._left):
            click.echo(f"  {number}. {shown(self._steps[number])}")

    def _check(self, target: Path) -> None:
        """Ensure that the written configuration is valid; delete it if not."""
        from wxgptd.config import ConfigError, load

        try:
            load(target)
        except ConfigError as error:
            target.unlink()
            for fault in error.faults:  # so that --resume asks for them
                key = fault.partition(":")[0].rpartition(".")[2]
                self._answers.forget(QUESTIONS.get(key, key))
            raise

    def _write_beside(self, path: Path, text: str) -> None:
        from wxgpt.setup import files

        target = self._place.below(path)
        try:
            files.write_new(target, text, 0o644)
        except UsageFailure:
            click.echo(spoken("left unchanged: {target}", target=target), err=True)
        except OSError as error:
            click.echo(
                spoken("not written: {target}: {strerror}", target=target, strerror=error.strerror),
                err=True,
            )
        else:
            click.echo(spoken("written: {target}", target=target))

    def _write_caddy(self, text: str) -> None:
        self._write_beside(Path("/etc/caddy/wxgptd.Caddyfile"), text)
        main = self._place.below(Path("/etc/caddy/Caddyfile"))
        line = "import /etc/caddy/wxgptd.Caddyfile"
        try:
            text_before = main.read_text("utf-8") if main.exists() else ""
            if line not in text_before.splitlines():
                with main.open("a", encoding="utf-8") as file:
                    file.write(f"\n{line}\n" if text_before else f"{line}\n")
                click.echo(spoken("written: {main}, added one line: {line}", main=main, line=line))
        except (OSError, UnicodeDecodeError) as error:
            click.echo(
                spoken(
                    "not written: {main}: {error}; add this line to it: {line}",
                    main=main,
                    error=error,
                    line=line,
                ),
                err=True,
            )


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
