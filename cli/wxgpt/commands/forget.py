"""`wxgpt forget`: a user, and everything that was said, is known no more."""

from __future__ import annotations

import sys
from urllib.parse import quote

import click

from wxgpt import control, options
from wxgpt.failures import UsageFailure
from wxgptd.errors import WxgptError

TIMEOUT_S = 600.0


class NobodyKnown(WxgptError):
    """there is no such user"""


@click.command("forget")
@click.argument("openid")
@click.option("--account", metavar="NAME", help="Needed if there are several.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(openid: str, account: str | None, yes: bool) -> None:
    """Erase a user in the running daemon: who it was, and all that was said.

    The user's key is deleted, so that nobody can read any more what the log has; snapshots are
    written anew, links are dead. It cannot be taken back. Backups from before still have the user.

    \b
    Examples:
      wxgpt forget oXXXX
      wxgpt forget oXXXX --yes
    """
    name = account or options.only_account()
    if not yes:
        if not sys.stdin or not sys.stdin.isatty():
            raise UsageFailure("it cannot be taken back, so it asks", hint="--yes answers that")
        if not click.confirm(f"Erase everything about {name}/{openid}? A block ends with it, too."):
            click.echo("nothing was done")
            sys.exit(1)
    path = f"/users/{quote(name, safe='')}/{quote(openid, safe='')}/forget"
    status, _ = control.request("POST", path, timeout_s=TIMEOUT_S)
    control.require_ready(status)
    if status == 404:
        raise NobodyKnown(
            f"nothing is known of {name}/{openid}", hint="`wxgpt users list` shows who is known"
        )
    click.echo(f"{name}/{openid}: erased (backups from before still have the user)")
