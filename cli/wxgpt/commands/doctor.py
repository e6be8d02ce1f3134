"""`wxgpt doctor`: what works and what does not, each with the fix."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from wxgpt import control, options, render
from wxgpt.failures import Unreachable
from wxgptd.errors import WxgptError

FIXES = {
    "misconfigured": "the server refuses the key: check api_key (and auth, for Azure)",
    "quota": "the account at the provider has nothing left: top it up",
    "busy": "the provider limits how often it is asked: wait, or ask for a higher limit",
    "refused": "the provider's moderation refuses even this: is it the right model?",
    "too_long": "the server says that one word is too long: is the model loaded?",
}
UNAVAILABLE = (
    ("No such host", "the name in base_url is not known: is it spelt right?"),
    ("DNSLookupError", "the name in base_url is not known: is it spelt right?"),
    ("refused", "nobody listens at base_url: is the server running?"),
    ("404", "there is no such path or model: is /v1 missing from base_url, or `model` misspelt?"),
    ("redirected", "base_url leads elsewhere: write the address that it leads to"),
    ("certificate", "the server's certificate is not valid for its name"),
    ("OpenSSL", "the server's certificate is not valid for its name"),
    ("tunnel", "the proxy does not let this through: check `proxy`"),
    ("within", "the server does not answer in time: is there a proxy to go through?"),
)


class SomethingIsWrong(WxgptError):
    """something is wrong"""


@click.command("doctor")
@options.output_option("text", "json")
def command(output: str) -> None:
    """Ask each assistant's model for one token, through the running daemon.

    It costs a token or two for each. Exits with 1 where anything is wrong.

    \b
    Examples:
      wxgpt doctor
      wxgpt doctor --json
    """
    config = options.load_config()
    found = [(name, one.choice[0], _try(name)) for name, one in config.assistant.items()]
    if output == "json":
        click.echo(
            render.dumps(
                [{"assistant": name, **said, "fix": _fix(said)} for name, _, said in found]
            )
        )
    else:
        for name, model, said in found:
            click.echo(_line(name, model, said))
    wrong = [name for name, _, said in found if not said["ok"]]
    if wrong:
        raise SomethingIsWrong(f"{', '.join(wrong)}: no answer")


def _try(name: str) -> dict[str, Any]:
    path = f"/assistants/{quote(name, safe='')}/try"
    status, said = control.request("POST", path, timeout_s=130.0)
    if status == 404:
        return {
            "ok": False,
            "reason": "unknown",
            "detail": "the running daemon has no such assistant",
        }
    if status != 200:
        raise Unreachable("the daemon is still starting", hint="try again in a few seconds")
    return dict(said)


def _fix(said: dict[str, Any]) -> str:
    if said["ok"]:
        return ""
    if said["reason"] == "unknown":
        return "restart it with this configuration: systemctl restart wxgptd"
    known = FIXES.get(said["reason"])
    if known:
        return known
    detail = said["detail"].lower()
    return next(
        (fix for sign, fix in UNAVAILABLE if sign.lower() in detail),
        "is the server up? The detail is what it said",
    )


def _line(name: str, model: str, said: dict[str, Any]) -> str:
    if said["ok"]:
        return f"✔ assistant {name}: {model} answers in {said['took_s']:.1f} s"
    detail = render.printable(said["detail"])
    return f"✘ assistant {name}: {model}: {detail}\n  fix: {_fix(said)}"
