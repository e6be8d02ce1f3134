"""Other machines, each by a name: `wxgpt --on NAME ...` runs the command there, over ssh.

They are in `wxgpt/contexts.toml` in the user's configuration directory ($XDG_CONFIG_HOME).
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from wxgpt.failures import UsageFailure
from wxgpt.language import WITH_VALUE
from wxgptd.wording import say


class Context(NamedTuple):
    """A machine: where `ssh` connects, and the command there."""

    ssh: str
    command: str = "wxgpt"


def path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the file with the machines."""
    base = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "wxgpt" / "contexts.toml"


def read() -> dict[str, Context]:
    """Return the machines by name.

    Raises:
        UsageFailure: the file is not valid.
    """
    file = path()
    try:
        tables = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
        found = {
            name: Context(table["ssh"], table.get("command", "wxgpt"))
            for name, table in tables.items()
        }
        if not all(isinstance(text, str) for context in found.values() for text in context):
            raise TypeError
    except ValueError as error:
        raise UsageFailure(say("{path} is not valid: {why}", path=file, why=error)) from None
    except (KeyError, TypeError, AttributeError):
        raise UsageFailure(
            say("{path} is not a list of machines", path=file),
            hint=say('each machine is a table: [NAME] and ssh = "root@host"'),
        ) from None
    return found


def change(name: str, context: Context | None) -> None:
    """Set a machine, or remove it (None); comments in the file stay."""
    from wxgpt.setup import one_key

    file = path()
    text = file.read_text("utf-8") if file.exists() else ""
    if context is None:
        text = one_key.without_table(text, name)
    else:
        for key, value in context._asdict().items():
            text = one_key.with_value(text, f"{name}.{key}", value)
    file.parent.mkdir(parents=True, exist_ok=True)
    file = file.resolve()  # it can be a link
    fresh = file.with_name(f"{file.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)


def require_name(name: str) -> None:
    """Check that a machine can be called that.

    Raises:
        UsageFailure: it cannot.
    """
    from wxgptd.config.values import NAME

    if not NAME.fullmatch(name) or name.startswith("-"):
        raise UsageFailure(
            say("{name!r} is not a valid name: use letters, digits, - and _", name=name)
        )


def require_destination(ssh: str) -> None:
    """Check that ssh takes this as a destination, not as an option.

    Raises:
        UsageFailure: it does not.
    """
    if not re.fullmatch(r"[^\s-]\S*", ssh) or not ssh.isprintable():
        raise UsageFailure(
            say("{ssh!r} is not a destination for ssh", ssh=ssh), hint="root@chat.example.com"
        )


def require_command(command: str) -> None:
    """Check that the words of a command can be told apart.

    Raises:
        UsageFailure: they cannot.
    """
    try:
        if not shlex.split(command):
            raise ValueError(say("it is empty"))
    except ValueError as error:
        raise UsageFailure(
            say("{command!r} is not a command: {why}", command=command, why=error)
        ) from None


def run_there(name: str, arguments: Sequence[str], language: str) -> NoReturn:
    """Run a command line on another machine, in this process's place.

    Raises:
        UsageFailure: there is no such machine, or no ssh here.
    """
    contexts = read()
    if name not in contexts:
        raise UsageFailure(
            say("no such machine: {name}", name=name),
            hint=say("`wxgpt context add NAME USER@HOST` adds one, `wxgpt context list` lists all"),
        )
    context = contexts[name]
    require_destination(context.ssh)
    require_command(context.command)
    there = [*shlex.split(context.command), "--lang", language, *without_on(arguments)]
    terminal = "-t" if sys.stdin.isatty() and sys.stdout.isatty() else "-T"
    sys.stdout.flush()
    try:
        os.execvp("ssh", ["ssh", terminal, context.ssh, shlex.join(there)])  # noqa: S606, S607
    except FileNotFoundError:
        raise UsageFailure(say("ssh is not installed"), hint="apt install openssh-client") from None


def without_on(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without `--on NAME` and `--lang LANG` before the command."""
    left, rest = [], list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        name, equals, _ = rest[0].partition("=")
        count = 1 if equals or name not in WITH_VALUE else 2
        if name not in ("--on", "--lang"):
            left += rest[:count]
        rest = rest[count:]
    return [*left, *rest]
