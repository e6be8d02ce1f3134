"""The operator's choices for a first configuration, from options or prompted for at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click

from wxgpt import listening
from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgpt.setup import checks, configuration, model_choice, spending, trial
from wxgpt.setup.answers import Answers
from wxgpt.setup.questions import Questions, confirmed, on_terminal, prompted
from wxgptd.wording import say

SYSTEM_STATE = Path("/var/lib/wxgptd")


class Place(NamedTuple):
    """Where the files go: below `root`; `system` marks a system-wide installation."""

    root: Path
    system: bool
    config: Path
    listen: str
    port: int
    account: str

    @property
    def upstream(self) -> str:
        """The address at which a web server on this machine reaches the daemon."""
        everywhere = self.listen == "0.0.0.0"  # noqa: S104
        return f"{'127.0.0.1' if everywhere else self.listen}:{self.port}"

    @property
    def is_this_machine(self) -> bool:
        """Whether the files are for the machine that this runs on."""
        return self.root == Path("/")

    def below(self, path: Path) -> Path:
        """Return the absolute `path`, moved below `root`."""
        return self.root / path.relative_to("/")


class Interview:
    """Prompts for options that were not `given`; without a terminal, names the missing option.

    Every method raises UsageFailure for an invalid or missing value.
    """

    def __init__(self, place: Place, given: Mapping[str, object], answers: Answers) -> None:
        self._place = place
        self._given = given
        self._questions = Questions(given, answers)
        self._units: bool | None = None

    def wanted(self) -> configuration.Wanted:
        """Return the values for the configuration."""
        state_dir = self._given["state_dir"]
        elsewhere = state_dir and Path(str(state_dir)).absolute() != SYSTEM_STATE
        if elsewhere and self.wants_units():
            raise UsageFailure(
                say(
                    "under systemd the state directory must be {system_state}",
                    system_state=SYSTEM_STATE,
                ),
                hint=say("omit --state-dir, or write no units (--no-systemd)"),
            )
        spending.require_valid(self._given)  # before a token is paid for
        model = model_choice.choose(self._questions)
        costs = spending.agree(self._questions, model)
        domain = self._questions.answer(
            "domain", say("Domain, such as chat.example.com"), checks.domain
        )
        self._report_address(domain)
        app_id = self._app_id()
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
            model=model,
            costs=costs,
            fits_window=bool(self._given["fit"]),
            only_ai=self._only_ai(),
        )

    def _report_address(self, domain: str) -> None:
        """Say whether the domain resolves; it can be added later."""
        if not on_terminal():
            return
        address = trial.address_of(domain)
        if address is None:
            click.echo(
                spoken(
                    "  {domain} does not resolve yet: add an A record with this machine's public "
                    "address, and open ports 80 and 443 (安全组)",
                    domain=domain,
                ),
                err=True,
            )
        else:
            click.echo(
                spoken(
                    "  {domain} is {address}; ports 80 and 443 must be open (安全组)",
                    domain=domain,
                    address=address,
                ),
                err=True,
            )

    def _only_ai(self) -> bool:
        """Return whether only the AI answers the account's messages."""
        given = self._given["only_ai"]
        if given is not None or not on_terminal():
            return bool(given)
        return self._questions.confirm(
            "only_ai",
            say(
                "Is this account only for talking to the AI?\n  (if it has keyword replies or "
                "another backend, answer n)"
            ),
        )

    def _app_id(self) -> str:
        if self._given["plain"]:
            if self._given["app_id"]:
                raise UsageFailure(say("give --app-id (safe mode) or --plain, not both"))
            return ""
        if self._given["app_id"]:
            return checks.app_id(str(self._given["app_id"]).strip())
        if self._questions.is_kept("app_id", ""):
            return ""
        if (kept := self._questions.kept("app_id", "AppID", checks.app_id)) is not None:
            return kept
        if not on_terminal():
            raise UsageFailure(
                say("--app-id is missing, and there is no terminal to prompt on"),
                hint=say("in WeChat's backend: 微信开发者平台 → 公众号 → 基础信息; or --plain"),
            )
        click.echo(
            spoken(
                "AppID: 微信开发者平台 developers.weixin.qq.com/platform → 公众号 → 基础信息.\n"
                "  Empty: plain text mode"
            ),
            err=True,
        )
        typed = prompted(
            "AppID", lambda answer: checks.app_id(answer) if answer else "", "", show_default=False
        )
        if not typed and not confirmed(say("Plain text mode, really? (n: enter the AppID)")):
            return self._app_id()
        return self._questions.keep("app_id", typed)

    def wants_units(self) -> bool:
        """Return whether to write units."""
        if self._units is None:
            self._units = self._decide_units()
        return self._units

    def _decide_units(self) -> bool:
        wanted = self._given["systemd"]
        if wanted is not None:
            if wanted and not self._place.system:
                raise UsageFailure(
                    say("only root can write systemd units"), hint=say("sudo wxgpt init")
                )
            return bool(wanted)
        if not self._place.system or not self._place.below(Path("/etc/systemd/system")).is_dir():
            return False
        return not on_terminal() or self._questions.confirm(
            "systemd", say("Write systemd units, which start it at boot?")
        )

    def wants_web(self) -> str:
        """Return which web server to write a site for: caddy, nginx or none."""
        wanted = self._given["web"]
        if wanted or not self._place.system or not on_terminal():
            return str(wanted or "none")
        for name in ("caddy", "nginx", "none"):
            if self._questions.is_kept("web", name):
                return name
        holder = (listening.holder_of(80) or "") if self._place.is_this_machine else ""
        if holder:
            click.echo(spoken("Port 80 is used by {holder}.", holder=holder), err=True)
        typed = str(
            click.prompt(
                spoken("Web server in front, which handles https"),
                type=click.Choice(["caddy", "nginx", "none"]),
                default="nginx" if holder.startswith("nginx") else "caddy",
                err=True,
            )
        )
        return self._questions.keep("web", typed)
