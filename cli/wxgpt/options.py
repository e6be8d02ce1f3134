"""Options that several commands share: the configuration, times, output formats."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgptd.errors import WxgptError
from wxgptd.wording import reason, say

if TYPE_CHECKING:
    from wxgptd.config import Account, Config, Server
    from wxgptd.config import Log as LogTable
    from wxgptd.eventlog.keyring import Keyring

F = TypeVar("F", bound=Callable[..., Any])  # Any: a command with any options

TIME_FORMS = "10m, 2h, 3d, yesterday, today, 2026-01-31, 2026-01-31T08:00:00+08:00 or @1700000000"

SYSTEM_CONFIG = Path("/etc/wxgptd/wxgptd.toml")
"""The configuration that `wxgpt init` writes for the unit."""


def output_option(*formats: str) -> Callable[[F], F]:
    """Add `-o FORMAT` and its shorthand `--json`."""
    short = "json" if "json" in formats else "ndjson"

    def add(function: F) -> F:
        function = click.option(
            "--json", "output", flag_value=short, default=formats[0], help=f"Short for -o {short}."
        )(function)
        return click.option(
            "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True,
            help="Output format.",
        )(function)  # fmt: skip

    return add


class NoConfiguration(WxgptError):
    """no configuration found"""

    exit_status = 4


def config_path() -> Path:
    """Return the configuration's path, from the option, the environment or the search path.

    Raises:
        NoConfiguration: none is given, and none is in the search path.
    """
    from wxgptd.config import SEARCH_PATH

    given = (click.get_current_context().find_root().obj or {}).get("config")
    if given:
        return Path(given)
    for path in SEARCH_PATH:
        if path.exists():
            return path
    raise NoConfiguration(
        say("no configuration found: neither ./wxgptd.toml nor /etc/wxgptd/wxgptd.toml exists"),
        hint=say("name one with `wxgpt --config FILE` or WXGPT_CONFIG; `wxgpt demo` needs none"),
    )


def load_config() -> Config:
    """Return the whole configuration, with all secrets except those that systemd passes."""
    from wxgptd.config import load

    return load(config_path(), elsewhere=True)


def read_config(path: Path) -> str:
    """Return the configuration's text."""
    from wxgptd.config import read

    return read(path)


def load_server() -> Server:
    """Return the `[server]` part, which is enough to find the log and the admin socket."""
    from wxgptd.config import load_server

    return load_server(config_path())


def load_log() -> LogTable:
    """Return the `[log]` part of the configuration."""
    from wxgptd.config import load_log

    return load_log(config_path())


def system_prompts() -> dict[str, str]:
    """Return each assistant's system prompt, without resolving secrets."""
    from wxgptd.config import load_system_prompts

    return load_system_prompts(config_path())


class Log(NamedTuple):
    """The log's directory and the users' keys; `keys` is None if they are not available."""

    directory: Path
    keys: Keyring | None

    @property
    def state_dir(self) -> Path:
        """The state directory that contains the log."""
        return self.directory.parent


def open_log() -> Log:
    """Return the log; print a note if users and their messages cannot be decrypted.

    Raises:
        UsageFailure: there is no log, or this user may not read it.
    """
    from wxgptd.eventlog import segments

    state_dir = load_server().state_dir
    directory = segments.log_directory(state_dir)
    try:
        paths = segments.list_segments(directory)
    except PermissionError:
        raise UsageFailure(
            say("permission denied: the log in {directory}", directory=directory),
            hint=say("run wxgpt as the daemon's user, or with sudo"),
        ) from None
    if not paths:
        raise UsageFailure(
            say("no log in {directory}", directory=directory),
            hint=say("has the daemon run with this configuration yet?"),
        )
    try:
        return Log(directory, open_keys(state_dir))
    except NoMasterKey as error:
        click.echo(
            spoken("note: users and their messages are not shown: {error}", error=error), err=True
        )
        if error.hint:
            click.echo(spoken("hint: {hint}", hint=error.hint), err=True)
        return Log(directory, None)


def print_log_start(log: Log) -> None:
    """Print a note if the log does not begin at event 1."""
    from wxgptd.eventlog import segments

    first = segments.begins_at(log.directory)
    if first > 1:
        click.echo(
            spoken(
                "note: the log begins at event {first}; earlier events were dropped ([log] "
                "keep, max_size) or are only in a snapshot",
                first=first,
            ),
            err=True,
        )


class NoMasterKey(WxgptError):
    """the log's master key is not available"""

    exit_status = 4


def open_keys(state_dir: Path) -> Keyring:
    """Return the users' keys.

    Raises:
        NoMasterKey: the master key or the keyring cannot be read.
    """
    from wxgptd.eventlog import segments
    from wxgptd.eventlog.keyring import Keyring

    master = master_key(state_dir)
    path = segments.keyring_path(state_dir)
    try:
        path.stat()
        return Keyring(path, master)
    except OSError as error:
        raise _no_key(path, error) from None


def master_key(state_dir: Path) -> bytes:
    """Return the master key, read from the same place as the daemon reads it.

    Raises:
        NoMasterKey: it cannot be read.
    """
    from wxgptd.eventlog.master_key import master_path, read_master

    configured = configured_master_key()
    if configured is not None:
        return configured
    path = master_path(state_dir)
    try:
        return read_master(path)
    except OSError as error:
        raise _no_key(path, error) from None


def _no_key(path: Path, error: OSError) -> NoMasterKey:
    if isinstance(error, PermissionError):
        return NoMasterKey(
            say("permission denied: {path}", path=path),
            hint=say("run wxgpt as the daemon's user, or with sudo"),
        )
    return NoMasterKey(
        f"{path}: {error.strerror}",
        hint=say("restore it from a backup: without it, messages cannot be read"),
    )


def configured_master_key() -> bytes | None:
    """Return the master key that the configuration names, or None if it names none.

    Raises:
        NoMasterKey: the configuration is invalid.
    """
    from wxgptd.config import ConfigError, load_log
    from wxgptd.eventlog.master_key import parse_master

    try:
        configured = load_log(config_path()).master_key
    except ConfigError as error:
        raise NoMasterKey(reason(error)) from None
    return parse_master(configured.reveal()) if configured else None


@contextmanager
def writing_as_daemon(state_dir: Path) -> Iterator[None]:
    """Ensure that files written to the state directory inside the block belong to the daemon.

    If root writes there, its new files are given to the directory's owner afterwards.

    Raises:
        UsageFailure: this user is neither the directory's owner nor root.
    """
    status = state_dir.stat() if state_dir.exists() else None
    owner = status.st_uid if status is not None else os.geteuid()
    if status is not None and owner != 0 and os.geteuid() == 0:
        try:
            yield
        finally:
            for path in state_dir.rglob("*"):
                if path.lstat().st_uid == 0:
                    os.chown(path, owner, status.st_gid, follow_symlinks=False)
        return
    if owner != os.geteuid():
        name = _user_name(owner)
        raise UsageFailure(
            say(
                "{state_dir} belongs to {name}: the daemon cannot use files written by others",
                state_dir=state_dir,
                name=name,
            ),
            hint=say("sudo wxgpt ... (or sudo -u {name} wxgpt ...)", name=name),
        )
    yield


def _user_name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def only_account() -> str:
    """Return the name of the only account, without resolving secrets.

    Raises:
        UsageFailure: there is not exactly one account.
    """
    from wxgptd.config import load_account_names

    names = load_account_names(config_path())
    if len(names) != 1:
        raise UsageFailure(
            say("there is more than one account") if names else say("there is no account"),
            hint=say("choose one with --account: {names}", names=", ".join(names)) if names else "",
        )
    return names[0]


def pick_account(config: Config, name: str | None) -> tuple[str, Account]:
    """Return the account with that name, or the only account if `name` is None.

    Raises:
        UsageFailure: there is no such account, or `name` is None and there are several.
    """
    names = ", ".join(config.account)
    if name is None:
        if len(config.account) > 1:
            hint = f"choose one with --account: {names}"
            raise UsageFailure(say("there is more than one account"), hint=hint)
        name = next(iter(config.account))
    if name not in config.account:
        raise UsageFailure(
            say("no such account: {name}", name=name), hint=say("accounts: {names}", names=names)
        )
    return name, config.account[name]


class Time(click.ParamType[float]):
    """A point in time, as seconds since the epoch."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_time(str(value), time.time())
        except ValueError:
            self.fail(
                spoken("{value!r} is not a time; use {forms}", value=value, forms=say(TIME_FORMS)),
                param,
                ctx,
            )


class Span(click.ParamType[float]):
    """A duration, in seconds."""

    name = "span"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)\s*([smhd])", _in_ascii(str(value)))
        if match is None or not float(match.group(1)):
            self.fail(
                spoken("{value!r} is not a duration; use 30m, 2h or 7d", value=value), param, ctx
            )
        return timedelta(**{_UNITS[match.group(2)]: float(match.group(1))}).total_seconds()


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _in_ascii(text: str) -> str:
    """Return a time as it is written in English: 7天 is 7d, 昨天 is yesterday."""
    text = text.strip()
    for chinese, english in _CHINESE.items():
        text = text.replace(chinese, english)
    return text


_CHINESE = {
    "昨天": "yesterday", "今天": "today", "小时": "h", "分钟": "m", "分": "m", "秒": "s", "天": "d",
}  # fmt: skip


def parse_time(text: str, now: float) -> float:
    """Parse a point in time, and return it in seconds since the epoch.

    Raises:
        ValueError: it is not a time.
    """
    text = _in_ascii(text)
    if match := re.fullmatch(r"@([0-9]{1,11}(?:\.[0-9]+)?)", text):
        return float(match.group(1))
    if match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)\s*([smhd])", text):
        return now - timedelta(**{_UNITS[match.group(2)]: float(match.group(1))}).total_seconds()
    if text in ("today", "yesterday"):
        local = datetime.fromtimestamp(now).astimezone()
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - timedelta(days=text == "yesterday")).timestamp()
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.astimezone()).timestamp()
    except OverflowError as error:
        raise ValueError("out of range") from error
