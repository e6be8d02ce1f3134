"""The operator's choices for a first configuration, from options or prompted for at a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken
from wxgpt.setup import checks, configuration, trial
from wxgpt.setup.answers import Answers
from wxgpt.setup.providers import PROVIDERS, Provider
from wxgptd.config.encodings import decoded
from wxgptd.wording import reason, say

SYSTEM_STATE = Path("/var/lib/wxgptd")
DAILY_BUDGET = 20.0


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

    def below(self, path: Path) -> Path:
        """Return the absolute `path`, moved below `root`."""
        return self.root / path.relative_to("/")


class Interview:
    """Prompts for options that were not `given`; without a terminal, names the missing option.

    Every method raises UsageFailure for an invalid or missing value.
    """

    def __init__(self, place: Place, given: Mapping[str, object], answers: Answers) -> None:
        self._place = place
        self._answers = answers
        self._given = given
        self._units: bool | None = None
        self._asked_again: set[str] = set()
        self._reused: set[str] = set()

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
        preset = self._provider()
        base_url, model, api_key = self._model(preset)
        daily_budget = self._daily_budget(preset)
        domain = self._answer("domain", say("Domain, such as chat.example.com"), checks.domain)
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
            base_url=base_url,
            api_key=api_key,
            model=model,
            more=preset.more,
            daily_budget=daily_budget,
            fits_window=bool(self._given["fit"]),
            only_ai=self._only_ai(),
        )

    def _model(self, preset: Provider) -> tuple[str, str, str]:
        """Return the address, the model and the key, which were tried if there is a terminal."""
        address = say("API address (base_url)")
        while True:
            base_url = self._value("base_url", address, preset.base_url)
            model = self._value(
                "model", say("Model"), preset.model, ask=not self._given["provider"]
            )
            api_key = self._api_key(preset)
            if not on_terminal() or self._given["no_try"]:
                return base_url, model, api_key
            click.echo(spoken("Trying the model (one token) ..."), err=True)
            auth = "api-key" if "api-key" in preset.more else "bearer"
            tried = trial.one_token(base_url, api_key, model, auth=auth)
            if not tried.why:
                click.echo(spoken("It answers."), err=True)
                return base_url, model, api_key
            click.echo(spoken("It does not answer: {why}", why=tried.why), err=True)
            if not confirmed(say("Type it again? (n: continue, and correct it later)")):
                return base_url, model, api_key
            wrong = (tried.blames,) if tried.blames else ("base_url", "model", "api_key")
            for key in wrong:
                self._answers.forget(key)
                self._asked_again.add(key)

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
        return self._confirmed(
            "only_ai",
            say(
                "Is this account only for talking to the AI?\n  (if it has keyword replies or "
                "another backend, answer n)"
            ),
        )

    def _confirmed(self, key: str, prompt: str) -> bool:
        kept = self._answers.get(key)
        if kept is None:
            kept = self._kept(key, "y" if confirmed(prompt) else "n")
        return kept == "y"

    def _provider(self) -> Provider:
        if not self._given["provider"] and self._given["base_url"]:
            return PROVIDERS["other"]
        if not self._given["provider"] and on_terminal() and not self._answers.get("provider"):
            click.echo(spoken("Which provider? A name or number"), err=True)
            for number, (name, provider) in enumerate(PROVIDERS.items(), 1):
                click.echo(f"  {number:>2}  {name:<12} {shown(provider.title)}", err=True)
        return PROVIDERS[self._answer("provider", say("Provider"), checks.provider, "deepseek")]

    def _value(self, key: str, prompt: str, default: str, *, ask: bool = False) -> str:
        """Return the given value, the default, or the operator's answer."""
        again = key in self._asked_again
        if default and not self._given[key] and not (ask and on_terminal()) and not again:
            return default
        return self._answer(
            key, prompt, checks.base_url if key == "base_url" else checks.text, default
        )

    def _answer(self, key: str, prompt: str, check: Callable[[str], str], default: str = "") -> str:
        """Return the given value, or prompt for it until the answer is valid."""
        if (given := self._given[key]) and key not in self._asked_again:
            return check(str(given).strip())
        if (kept := self._still_valid(key, check)) is not None:
            return kept
        if not on_terminal():
            option = f"--{key.replace('_', '-')}"
            raise UsageFailure(
                say("{option} is missing, and there is no terminal to prompt on", option=option)
            )
        return self._kept(key, _prompted(prompt, check, default or None))

    def _still_valid(self, key: str, check: Callable[[str], str]) -> str | None:
        """Return a kept answer, and say so; None if there is none, or if it is not valid."""
        kept = self._answers.get(key)
        if kept is None:
            return None
        try:
            answer = check(kept)
        except UsageFailure:
            return None
        if on_terminal() and key not in self._reused:
            self._reused.add(key)
            shown_answer = "***" if key == "api_key" else answer
            click.echo(spoken("  kept: {answer}", answer=shown_answer), err=True)
        return answer

    def _kept(self, key: str, answer: str) -> str:
        self._answers.keep(key, answer)
        return answer

    def _api_key(self, preset: Provider) -> str:
        file, again = self._given["api_key_file"], "api_key" in self._asked_again
        if file is not None and not again:
            stream: IO[bytes] = file  # type: ignore[assignment]
            try:
                return checks.key(decoded(stream.read()).strip())
            except ValueError as error:
                raise UsageFailure(
                    say("{name} {why}", name=stream.name, why=reason(error))
                ) from None
        if (given := os.environ.get("WXGPT_API_KEY")) and not again:
            return checks.key(given.strip())
        if not preset.keys and not again:
            return ""
        if (kept := self._still_valid("api_key", checks.key)) is not None:
            return kept
        if not on_terminal():
            raise UsageFailure(
                say("--api-key-file is missing, and there is no terminal to prompt on"),
                hint=say("or set WXGPT_API_KEY in the environment"),
            )
        click.echo(
            spoken(
                "API key, create one at: {keys}\n  (hidden while you paste it)",
                keys=shown(preset.keys),
            ),
            err=True,
        )
        return self._kept("api_key", _prompted(say("API key"), checks.key, None, hidden=True))

    def _daily_budget(self, preset: Provider) -> float:
        """Return the daily budget; without one, a single follower could use up the balance."""
        if self._given["daily_budget"] is not None:
            return checks.budget(str(self._given["daily_budget"]))
        if not preset.keys:
            return 0.0
        if (kept := self._still_valid("daily_budget", checks.amount)) is not None:
            return float(kept)
        if not on_terminal():
            return DAILY_BUDGET
        click.echo(
            spoken(
                "Daily budget, in your provider's currency? Once it is spent, the bot pauses "
                "until\n  midnight; 0: no limit"
            ),
            err=True,
        )
        typed = _prompted(say("Budget"), checks.amount, f"{DAILY_BUDGET:g}")
        return float(self._kept("daily_budget", typed))

    def _app_id(self) -> str:
        if self._given["plain"]:
            if self._given["app_id"]:
                raise UsageFailure(say("give --app-id (safe mode) or --plain, not both"))
            return ""
        if self._given["app_id"]:
            return checks.app_id(str(self._given["app_id"]).strip())
        if self._answers.get("app_id") == "":
            return ""
        if (kept := self._still_valid("app_id", checks.app_id)) is not None:
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
        typed = _prompted(
            "AppID", lambda answer: checks.app_id(answer) if answer else "", "", show_default=False
        )
        return self._kept("app_id", typed)

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
        return not on_terminal() or self._confirmed(
            "systemd", say("Write systemd units, which start it at boot?")
        )

    def wants_web(self) -> str:
        """Return which web server to write a site for: caddy, nginx or none."""
        wanted = self._given["web"]
        if wanted or not self._place.system or not on_terminal():
            return str(wanted or "none")
        if (kept := self._answers.get("web")) in ("caddy", "nginx", "none"):
            return str(kept)
        typed = str(
            click.prompt(
                spoken("Web server in front, which handles https"),
                type=click.Choice(["caddy", "nginx", "none"]),
                default="caddy",
                err=True,
            )
        )
        return self._kept("web", typed)


def _prompted(
    prompt: str,
    check: Callable[[str], str],
    default: str | None,
    *,
    hidden: bool = False,
    show_default: bool = True,
) -> str:
    """Prompt at the terminal until `check` accepts the answer, and return its result."""
    answer: str = click.prompt(
        shown(prompt),
        default=default,
        value_proc=_for_click(check),
        hide_input=hidden,
        show_default=show_default,
        err=True,
    )
    return answer


def _for_click(check: Callable[[str], str]) -> Callable[[str], str]:
    """Adapt `check` to click, which prompts again when it rejects an answer."""

    def take(answer: str) -> str:
        try:
            return check(answer.strip())
        except UsageFailure as failure:
            hint = failure.hint and f" ({shown(failure.hint)})"
            raise click.UsageError(f"{shown(failure)}{hint}") from None

    return take


def confirmed(prompt: str) -> bool:
    """Ask a yes-or-no question, in either language; an empty answer means yes."""

    def check(answer: str) -> str:
        word = answer.lower().rstrip("。.!！")
        if word in ("y", "yes", "是", "是的", "对", "好", "嗯"):
            return "y"
        if word in ("n", "no", "否", "不", "不是", "不要"):
            return ""
        raise UsageFailure(say("answer y or n"))

    answer: str = click.prompt(
        f"{shown(prompt)} [Y/n]",
        default="y",
        value_proc=_for_click(check),
        show_default=False,
        err=True,
    )
    return bool(answer)


def on_terminal() -> bool:
    """Return whether there is a terminal to prompt at."""
    return sys.stdin.isatty() and sys.stderr.isatty()
