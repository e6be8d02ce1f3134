"""`wxgpt users`: list users and their usage; block and allow them."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

import click

from wxgpt import completing, control, options, render
from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken
from wxgptd.untyped import Json
from wxgptd.wording import say


@click.group("users")
def command() -> None:
    """List, block and allow users in the running daemon.

    \b
    Examples:
      wxgpt users list
      wxgpt users block oXXXX --for 2d
      wxgpt users allow oXXXX
      wxgpt users reset oXXXX
      wxgpt users name oXXXX 张三
    """


@command.command("list")
@click.argument("beginning", default="")
@click.option(
    "--standing", type=click.Choice(["allowed", "blocked"]), help="Only users with this standing."
)
@click.option(
    "-n",
    "limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    metavar="N",
    help="At most this many.",
)
@options.output_option("text", "json")
def list_(beginning: str, standing: str | None, limit: int, output: str) -> None:
    """List users and their usage today, most recently active first.

    With BEGINNING, only those whose OpenID or name begins like that.

    \b
    Examples:
      wxgpt users list
      wxgpt users list 张
      wxgpt users list --standing blocked
    """
    query = urlencode({"n": limit, "standing": standing or "", "beginning": beginning})
    status, users = control.request("GET", f"/users?{query}")
    control.require_ready(status)
    if output == "json":
        for user in users:
            user["until"] = user["until"] and render.rfc3339(user["until"])
            user["last_at"] = user["last_at"] and render.rfc3339(user["last_at"])
        click.echo(render.dumps(users))
        return
    if users:
        names = map(shown, HEAD)
        click.echo(_row(*names).rstrip())
    for user in users:
        render.row(_line(user))
    if not users:
        click.echo(spoken("no users"), err=True)


def _line(user: Json) -> str:
    last_active = (
        render.clock_time(user["last_at"], utc=False) if user["last_at"] else spoken("never")
    )
    standing = "" if user["standing"] == "default" else shown(user["standing"])
    if standing and user["until"]:
        standing += spoken(" until {time}", time=render.clock_time(user["until"], utc=False))
    name = f"{user['account']}/{user['user']}"
    if user.get("name"):
        room = NAME_COLUMNS - 3 - render.columns(user["name"])
        name = f"{user['name']} ({render.shorten(name, room)})"
    questions, tokens = str(user["questions_today"]), str(user["tokens_today"])
    return _row(name, last_active, questions, tokens, standing).rstrip()


NAME_COLUMNS = 36
HEAD = (
    say("account/user"), say("last active"), say("questions today"), say("tokens today"),
    say("standing"),
)  # fmt: skip


def _row(name: str, last_active: str, questions: str, tokens: str, standing: str) -> str:
    return (
        f"{render.pad(name, NAME_COLUMNS)}  {render.pad(last_active, 14)}  "
        f"{render.pad_left(questions, 9)}  {render.pad_left(tokens, 9)}  {standing}"
    )


_for = click.option(
    "--for", "for_s", type=options.Span(), metavar="TIME", help="For this long, such as 2h or 7d."
)
_account = click.option(
    "--account",
    metavar="NAME",
    help="The user's account; required if there are several.",
    shell_complete=completing.account,
)


@command.command("block")
@click.argument("openid", shell_complete=completing.user)
@_for
@click.option("--unseen", is_flag=True, help="Block even an OpenID that was never seen.")
@_account
def block(openid: str, for_s: float | None, unseen: bool, account: str | None) -> None:
    """Stop a user from asking questions, and end any open session.

    \b
    Examples:
      wxgpt users block oXXXX
      wxgpt users block oXXXX --for 2d
    """
    _change(openid, account, "blocked", for_s, unseen=unseen)


@command.command("allow")
@click.argument("openid", shell_complete=completing.user)
@_for
@_account
def allow(openid: str, for_s: float | None, account: str | None) -> None:
    """Let a user ask without limits, even if only allowed users may ask.

    The user need not have written yet, so this also works as an invitation.

    \b
    Examples:
      wxgpt users allow oXXXX
    """
    _change(openid, account, "allowed", for_s, unseen=True)


@command.command("reset")
@click.argument("openid", shell_complete=completing.user)
@_account
def reset(openid: str, account: str | None) -> None:
    """Return a user to the default: neither blocked nor allowed.

    \b
    Examples:
      wxgpt users reset oXXXX
    """
    _change(openid, account, "default", None, unseen=False)


@command.command("name")
@click.argument("openid", shell_complete=completing.user)
@click.argument("name")
@_account
def name_(openid: str, name: str, account: str | None) -> None:
    """Give a user a name, which is shown instead of the OpenID; an empty one takes it away.

    The name is encrypted with the user's key, and erased with it.

    \b
    Examples:
      wxgpt users name oXXXX 张三
      wxgpt users name oXXXX ""
    """
    where, _ = options.pick_account(options.load_config(), account)
    openid = control.find_user(where, openid)
    path = f"/users/{quote(where, safe='')}/{quote(openid, safe='')}/name"
    status, _ = control.request("POST", path, name.encode())
    control.require_ready(status)
    if status == 400:
        raise UsageFailure(say("a name has at most 40 characters, on one line"))
    if status != 200:
        raise control.unknown(where, openid)
    click.echo(f"{where}/{openid}: {name}".rstrip())


def _found(account: str, openid: str, *, unseen: bool) -> str:
    """Return the OpenID of a user, who need not be known if `unseen`."""
    try:
        return control.find_user(account, openid)
    except control.UnknownUser:
        if unseen and re.fullmatch(r"[A-Za-z0-9_-]{3,128}", openid):
            return openid
        raise


def _change(
    openid: str, account: str | None, standing: str, for_s: float | None, *, unseen: bool
) -> None:
    name, _ = options.pick_account(options.load_config(), account)
    openid = _found(name, openid, unseen=unseen)
    query = urlencode({"standing": standing, "for_s": for_s or 0})
    path = f"/users/{quote(name, safe='')}/{quote(openid, safe='')}?{query}"
    status, _ = control.request("POST", path)
    control.require_ready(status)
    if status != 200:
        raise UsageFailure(
            say("the daemon has no account {name}", name=name),
            hint=say("was it restarted with this configuration?"),
        )
    effect = spoken("neither blocked nor allowed") if standing == "default" else shown(standing)
    click.echo(f"{name}/{openid}: {effect}")
