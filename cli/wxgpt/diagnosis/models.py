"""Whether each model answers, and what to mend where one does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from wxgpt import control, render
from wxgpt.diagnosis.finding import Finding, bad, good, skipped
from wxgpt.failures import Unreachable
from wxgptd.loose import Json

if TYPE_CHECKING:
    from wxgptd.config import Assistant, Config

FIXES = (
    (r"proxy opens no tunnel: 407|^HTTP 407", ("the proxy wants a user and a password: proxy = "
     '"http://USER:PASSWORD@HOST:PORT"')),
    (r"proxy opens no tunnel", "the proxy does not let this through: check `proxy`"),
    (r"wrong version number", "base_url says https, but http is spoken there: write http://"),
    (r"certificate|SSL routines", "the server's certificate is not valid for its name"),
    (r"DNSLookupError|No such host|no results for hostname", ("the name in base_url (or proxy) is "
     "not known: is it spelt right?")),
    (r"Connection was refused|ConnectionRefused", ("nobody listens at base_url (or at `proxy`): is "
     "the server running?")),
    (r"not JSON: <|no object: <", "that is a web page and no API: is /v1 missing from base_url?"),
    (r"^HTTP [45]\d\d.*(?:is `model` right|model_not_found|\bmodel\b(?!s).*\bnot\b)",
     "the server knows no such model: check `model`"),
    (r"^HTTP 404", ("there is no such path: is /v1 missing from base_url (for Azure: the "
     "api-version)?")),
    (r"redirected to", ("base_url leads elsewhere: write the address that it leads to, without "
     "/chat/completions")),
    (r"^HTTP 5\d\d", "the server fails by itself: look at its log"),
    (r"^HTTP 40[03].*model", "the key may not use this model, or it is misspelt: check `model`"),
    (r"connection was (?:lost|closed)|without a finish", ("the server answers and breaks off: look "
     "at its log, or at a proxy between")),
    (r"within [0-9.]+ s", ("the server does not answer in time: is it reachable from here, or is "
     "there a proxy to go through?")),
)  # fmt: skip
BY_REASON = {
    "misconfigured": 'the server refuses the key: check api_key (for Azure: auth = "api-key")',
    "quota": "the account at the provider has nothing left: top it up",
    "busy": "the provider limits how often it is asked: wait, or ask for a higher limit",
    "refused": "the provider's moderation refuses even this: is it the right model?",
    "too_long": "the server says that one word is too long: is the model loaded?",
    "unknown": "have the daemon take up this configuration: systemctl reload wxgptd",
}
PATIENCE_S = 150.0
IN_TIME_S = 12.0


def models(config: Config, *, reachable: bool) -> Iterator[Finding]:
    """Have the daemon ask each model of each assistant for one token, which costs that much."""
    for name, one in config.assistant.items():
        if not reachable:
            yield skipped(f"assistant {name}", "asked through the daemon, which does not run")
            continue
        for said in _try(name, one):
            yield _found(name, said)


def _found(name: str, said: Json) -> Finding:
    check, more = f"assistant {name}", {"assistant": name, "model": said["model"]}
    if not said["ok"]:
        detail = f"{said['model']}: {render.printable(said['detail'])}"
        return bad(check, detail, _fix(said), reason=said["reason"], **more)
    slow = ", too late for WeChat: users get a link" if said["took_s"] > IN_TIME_S else ""
    detail = f"{said['model']} answers in {said['took_s']:.1f} s{slow}"
    return good(check, detail, took_s=said["took_s"], **more)


def _try(name: str, configured: Assistant) -> list[Json]:
    """Have the daemon ask; what it does not know needs a restart."""
    path = f"/assistants/{quote(name, safe='')}/try"
    patience_s = max(PATIENCE_S, configured.total_timeout + 10)
    try:
        status, said = control.request("POST", path, timeout_s=patience_s)
    except Unreachable as error:
        timed_out = "timed out" in str(error)
        why = f"no answer within {patience_s:g} s" if timed_out else str(error)
        return [_unknown(model, why) for model in configured.choice]
    if status == 503:
        return [_unknown(model, "the daemon is still starting") for model in configured.choice]
    if status != 200:
        return [_unknown(model, "the daemon has no such assistant") for model in configured.choice]
    asked = {one["model"] for one in said}
    missing = [model for model in configured.choice if model not in asked]
    return [
        *(one for one in said if one["model"] in configured.choice),
        *(_unknown(model, "the daemon runs an older configuration") for model in missing),
    ]


def _unknown(model: str, detail: str) -> Json:
    return {"ok": False, "model": model, "reason": "unknown", "detail": detail}


def _fix(said: Json) -> str:
    known = BY_REASON.get(said["reason"], "is the server up? The detail is what it said")
    found = (fix for sign, fix in FIXES if re.search(sign, said["detail"], re.IGNORECASE))
    named = said["reason"] in ("unavailable", "misconfigured")
    return next(found, known) if named else known
