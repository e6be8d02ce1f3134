"""The commands by name, and the single error boundary.

A command's module is imported when the command runs, and heavy imports are deferred until they
are needed, so that `wxgpt --help` and `wxgpt tail` start quickly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

import click

from wxgpt.failures import EXIT_STATUSES
from wxgpt.help_text import localized
from wxgpt.language import LOCALES, choose, current, shown, spoken, wanted
from wxgptd import __version__
from wxgptd.errors import WxgptError
from wxgptd.wording import say

COMMANDS = {
    "demo": "See it work: no account, no key, one minute.",
    "init": "Write a first configuration, or rotate an account's EncodingAESKey.",
    "check": "Check the configuration.",
    "config": "Look at values of the configuration, and change them.",
    "send": "Send one message the way WeChat does.",
    "chat": "Chat with the daemon at a prompt, as a WeChat user would.",
    "tail": "Show the log's events; with -f, follow new ones.",
    "replay": "Show past state, or resend logged messages.",
    "sessions": "List, show and stop sessions.",
    "users": "List, block and allow users.",
    "forget": "Erase a user and all their messages.",
    "usage": "Show tokens and costs by day, user, assistant or model.",
    "doctor": "Check everything between WeChat and the models, and suggest fixes.",
    "status": "Show the daemon's status.",
    "top": "Watch the daemon live.",
    "reload": "Reload the configuration.",
    "backup": "Back up the state directory to a file.",
    "restore": "Restore the state directory from a backup.",
    "log": "Inspect, repair, export and import the event log.",
    "cluster": "Create a cluster of several machines, look at it, hand over the lead.",
    "context": "Give other machines names: wxgpt --on NAME ...",
    "demo-model": "Run only the demo model.",
    "completion": "Print a shell completion script.",
    "help": "Explain exit codes, times, output and the environment.",
}


def load(name: str) -> click.Command:
    """Return a command, with its help in English."""
    module = import_module(f"wxgpt.commands.{name.replace('-', '_')}")
    command: click.Command = module.command
    return command


class Commands(click.Group):
    """A group that imports a command when it is invoked, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        near = get_close_matches(name, COMMANDS, 1) if name not in COMMANDS else []
        if near and not ctx.resilient_parsing:
            ctx.fail(
                spoken("no such command '{name}'; did you mean {near}?", name=name, near=near[0])
            )
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return localized(load(cmd_name)) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(spoken("Commands")):
            formatter.write_dl([(name, shown(about)) for name, about in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        statuses = ", ".join(f"{code} {shown(what)}" for code, what in EXIT_STATUSES.items())
        formatter.write_paragraph()
        formatter.write_text(spoken("Exit status: {statuses}.", statuses=statuses))


@click.group(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": "WXGPT",
    },
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    envvar="WXGPT_CONFIG",
    help="The daemon's configuration.  [default: ./wxgptd.toml, then /etc/wxgptd/wxgptd.toml]",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="When to use colour; auto: only on a terminal.",
)
@click.option("--on", metavar="NAME", help="Run the command on another machine: wxgpt context.")
@click.option(
    "--lang",
    metavar="[en|zh]",
    callback=lambda _ctx, _param, value: _language(value),
    help="Language of texts.  [default: that of the environment]",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, prog_name="wxgpt")
@click.pass_context
def cli(
    ctx: click.Context,
    config_path: str | None,
    color: str,
    lang: str | None,
    on: str | None,
    debug: bool,
) -> None:
    """Operate wxgptd, the daemon between WeChat and a chat model.

    \b
    Examples:
      wxgpt demo                      see it work, without an account or a key
      wxgpt send "你好"                send a message the way WeChat does
      wxgpt tail -f                   watch what people ask
      wxgpt replay --as-conversation  read the conversations
    """
    del lang  # `main` has chosen it, before any help or error can be shown
    if on is not None:
        from wxgpt.contexts import run_there

        run_there(on, sys.argv[1:], current())
    ctx.obj = {"config": config_path, "debug": debug}
    ctx.color = _wants_color(color, os.environ)


def _language(given: str | None) -> str | None:
    """Check a language; that of a locale, such as `zh_CN.UTF-8`, will do."""
    if given and not given.lower().startswith(tuple(LOCALES)):
        raise click.BadParameter(spoken("{given!r} is neither en nor zh", given=given))
    return given


def _wants_color(given: str, environ: Mapping[str, str]) -> bool | None:
    """Return whether to use colour; None: only on a terminal (no-color.org)."""
    if given != "auto":
        return given == "always"
    if environ.get("NO_COLOR"):
        return False
    return True if environ.get("CLICOLOR_FORCE", "0") not in ("", "0") else None


def main() -> NoReturn:
    """Run the command line, and turn every failure into a message and an exit status."""
    debug = "--debug" in sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Do not fail on a terminal that cannot show Chinese.
            stream.reconfigure(errors="backslashreplace")
    choose(wanted(sys.argv[1:], os.environ))
    try:
        status = localized(cli).main(prog_name="wxgpt", standalone_mode=False)
    except click.exceptions.Abort:
        status = _report_interrupt()
    except KeyboardInterrupt:
        status = _report_interrupt()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        message = error.format_message()
        about = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"{about.command_path} --help" if about is not None else ""
        _report(f"{message[:1].lower()}{message[1:].rstrip('.。')}", hint)
        status = error.exit_code
    except WxgptError as error:
        if debug:
            raise
        _report(error, error.hint)
        status = error.exit_status
    except BrokenPipeError:
        _discard_output()  # the reader (`| head`) has closed the pipe
        status = 0
    except UnicodeError:
        if debug:
            raise
        _report(say("an argument is not valid UTF-8"))
        status = 2
    except OSError as error:
        if debug:
            raise
        _discard_output()
        subject = f"{error.filename}: " if error.filename else ""
        _report(f"{subject}{error.strerror or error}")
        status = 1
    except Exception as error:
        if debug:
            raise
        hint = say("this is a bug in wxgpt; --debug shows the traceback")
        _report(f"{type(error).__name__}: {error}", hint)
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


def _report(what: object, hint: str = "") -> None:
    """Print what went wrong, and how to fix it."""
    click.echo(spoken("error: {what}", what=shown(what)), err=True)
    if hint:
        click.echo(spoken("hint: {hint}", hint=shown(hint)), err=True)


def _discard_output() -> None:
    """Discard buffered output, so that flushing it at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_interrupt() -> int:
    click.echo(err=True)
    return 130
