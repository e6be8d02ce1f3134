"""`wxgpt forget`: erase a user and all their messages."""

from __future__ import annotations

import sys
from urllib.parse import quote

import click

from wxgpt import completing, control, options
from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgptd.wording import say

TIMEOUT_S = 600.0


@click.command("forget")
@click.argument("openid", shell_complete=completing.user)
@click.option("--account", metavar="NAME", help="The user's account, if there are several.",
              shell_complete=completing.account)  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="Only show what would be erased.")
def command(openid: str, account: str | None, yes: bool, dry_run: bool) -> None:
    """Erase a user and all their messages from the running daemon.

    The user's key is deleted, so that the user's data in the log can no longer be read. Snapshots
    are rewritten, and links stop working. This cannot be undone. Older backups still contain the
    user.

    \b
    Examples:
      wxgpt forget oXXXX
      wxgpt forget oXXXX --dry-run
      wxgpt forget oXXXX -y
    """
    name = account or options.only_account()
    given, openid = openid, control.find_user(name, openid)
    if yes and given != openid and control.names().get(f"{name}/{openid}") != given:
        raise UsageFailure(
            say("{given} is only the beginning of {openid}", given=given, openid=openid),
            hint=say("with -y, give the whole OpenID or name: this cannot be undone"),
        )
    plan = spoken(
        "{name}/{openid}: the user's key is deleted, all messages are lost, links "
        "stop working, an answer being written is cancelled, a block is lifted",
        name=name,
        openid=openid,
    )
    if dry_run:
        click.echo(spoken("would be erased: {plan}", plan=plan))
        return
    if not yes:
        called = control.names().get(f"{name}/{openid}")
        click.echo(f"{called}: {plan}" if called else plan, err=True)
        if not sys.stdin or not sys.stdin.isatty():
            raise UsageFailure(
                say("confirmation is required, because this cannot be undone"),
                hint=say("pass --yes (-y)"),
            )
        if not click.confirm(
            spoken("Erase everything about {name}/{openid}?", name=name, openid=openid)
        ):
            click.echo(spoken("nothing was erased"))
            sys.exit(1)
    path = f"/users/{quote(name, safe='')}/{quote(openid, safe='')}/forget"
    status, _ = control.request("POST", path, timeout_s=TIMEOUT_S)
    control.require_ready(status)
    if status == 404:
        raise control.unknown(name, openid)
    click.echo(
        spoken(
            "{name}/{openid}: erased (older backups still contain the user)",
            name=name,
            openid=openid,
        )
    )
