"""The operator's choices for a first configuration, from options or prompted for at a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken
from wxgpt.setup import configuration
from wxgpt.setup.providers import PROVIDERS, Provider
from wxgptd.config.encodings import decoded
from wxgptd.wording import reason, say

SYSTEM_STATE = Path("/var/lib/wxgptd")
DAILY_BUDGET = 20.0

_DOMAIN = r"(?=.{4,190}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]+"


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

    def __init__(self, place: Place, given: Mapping[str, object]) -> None:
        self._place = place
        self._given = given
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
        preset = self._provider()
        address = say("API address (base_url)")
        base_url = self._value("base_url", address, preset.base_url)
        model = self._value("model", say("Model"), preset.model, ask=not self._given["provider"])
        api_key = self._api_key(preset)
        daily_budget = self._daily_budget(preset)
        domain = self._answer("domain", say("Domain, such as chat.example.com"), _domain)
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

    def _only_ai(self) -> bool:
        """Return whether only the AI answers the account's messages."""
        given = self._given["only_ai"]
        if given is not None or not _on_terminal():
            return bool(given)
        return _confirmed(
            say(
                "Is this account only for talking to the AI?\n  (if it has keyword replies or "
                "another backend, answer n)"
            )
        )

    def _provider(self) -> Provider:
        if not self._given["provider"] and self._given["base_url"]:
            return PROVIDERS["other"]
        if not self._given["provider"] and _on_terminal():
            click.echo(spoken("Which provider? A name or number"), err=True)
            for number, (name, provider) in enumerate(PROVIDERS.items(), 1):
                click.echo(f"  {number:>2}  {name:<12} {shown(provider.title)}", err=True)
        return PROVIDERS[self._answer("provider", say("Provider"), _provider, "deepseek")]

    def _value(self, key: str, prompt: str, default: str, *, ask: bool = False) -> str:
        """Return the given value, the default, or the operator's answer."""
        if default and not self._given[key] and not (ask and _on_terminal()):
            return default
        return self._answer(key, prompt, _text, default)

    def _answer(self, key: str, prompt: str, check: Callable[[str], str], default: str = "") -> str:
        """Return the given value, or prompt for it until the answer is valid."""
        if given := self._given[key]:
            return check(str(given).strip())
        if not _on_terminal():
            option = f"--{key.replace('_', '-')}"
            raise UsageFailure(
                say("{option} is missing, and there is no terminal to prompt on", option=option)
            )
        return _prompted(prompt, check, default or None)

    def _api_key(self, preset: Provider) -> str:
        file = self._given["api_key_file"]
        if file is not None:
            stream: IO[bytes] = file  # type: ignore[assignment]
            try:
                return _key(decoded(stream.read()).strip())
            except ValueError as error:
                raise UsageFailure(
                    say("{name} {why}", name=stream.name, why=reason(error))
                ) from None
        if given := os.environ.get("WXGPT_API_KEY"):
            return _key(given.strip())
        if not preset.keys:
            return ""
        if not _on_terminal():
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
        return _prompted(say("API key"), _key, None, hidden=True)

    def _daily_budget(self, preset: Provider) -> float:
        """Return the daily budget; without one, a single follower could use up the balance."""
        if self._given["daily_budget"] is not None:
            return _budget(str(self._given["daily_budget"]))
        if not preset.keys:
            return 0.0
        if not _on_terminal():
            return DAILY_BUDGET
        click.echo(
            spoken(
                "Daily budget, in your provider's currency? Once it is spent, the bot pauses "
                "until\n  midnight; 0: no limit"
            ),
            err=True,
        )
        return float(_prompted(say("Budget"), _amount, f"{DAILY_BUDGET:g}"))

    def _app_id(self) -> str:
        if self._given["plain"]:
            if self._given["app_id"]:
                raise UsageFailure(say("give --app-id (safe mode) or --plain, not both"))
            return ""
        if self._given["app_id"]:
            return _app_id(str(self._given["app_id"]).strip())
        if not _on_terminal():
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
        return _prompted(
            "AppID", lambda answer: _app_id(answer) if answer else "", "", show_default=False
        )

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
        return not _on_terminal() or _confirmed(say("Write systemd units, which start it at boot?"))

    def wants_web(self) -> str:
        """Return which web server to write a site for: caddy, nginx or none."""
        wanted = self._given["web"]
        if wanted or not self._place.system or not _on_terminal():
            return str(wanted or "none")
        return str(
            click.prompt(
                spoken("Web server in front, which handles https"),
                type=click.Choice(["caddy", "nginx", "none"]),
                default="caddy",
                err=True,
            )
        )


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


def _confirmed(prompt: str) -> bool:
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


# Checks: each returns the answer in its canonical form, or raises UsageFailure.


def _text(answer: str) -> str:
    if not answer:
        raise UsageFailure(say("a value is required"))
    return answer


def _provider(answer: str) -> str:
    names = list(PROVIDERS)
    if re.fullmatch(r"[0-9]{1,3}", answer) and 1 <= int(answer) <= len(names):
        return names[int(answer) - 1]
    if answer not in PROVIDERS:
        raise UsageFailure(
            say("no such provider: {answer}", answer=answer),
            hint=say("providers: {names}", names=", ".join(names)),
        )
    return answer


def _key(answer: str) -> str:
    if len(answer) > 1 and answer[0] in "\"'`" and answer[0] == answer[-1]:
        raise UsageFailure(say("remove the quotes around the key"))
    if not answer or re.search(r"[^\x21-\x7e]", answer):
        raise UsageFailure(say("not an API key: empty, or has spaces or non-ASCII characters"))
    return answer


def _budget(answer: str) -> float:
    try:
        amount = float(answer)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < 1e9:
        raise UsageFailure(say("{answer!r} is not an amount, such as 20", answer=answer))
    return amount


def _amount(answer: str) -> str:
    return str(_budget(answer))


def _domain(answer: str) -> str:
    host = re.sub(r"^https?://", "", answer).strip("/").lower()
    if not re.fullmatch(_DOMAIN, host):
        raise UsageFailure(
            say("{answer!r} is not a domain name", answer=answer),
            hint=say("WeChat and phones need a name such as chat.example.com, without a path"),
        )
    return host


def _app_id(answer: str) -> str:
    if not re.fullmatch(r"wx[0-9a-zA-Z]{6,30}", answer):
        raise UsageFailure(
            say(
                "{answer!r} is not an AppID: it is wx followed by letters and digits",
                answer=answer,
            )
        )
    return answer


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
