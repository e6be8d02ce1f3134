"""Check that each model answers, and find a remedy for each that does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from wxgpt import control, render
from wxgpt.diagnosis.finding import Finding, failed, passed, skipped
from wxgpt.failures import Unreachable
from wxgptd.untyped import Json
from wxgptd.wording import reason, say

if TYPE_CHECKING:
    from wxgptd.config import Assistant, Config

REMEDIES = (
    (r"proxy CONNECT failed: 407|^HTTP 407", "proxy-password"),
    (r"proxy CONNECT failed", "proxy-rejected"),
    (r"wrong version number", "model-plain-http"),
    (r"certificate|SSL routines", "model-certificate"),
    (r"DNSLookupError|No such host|no results for hostname", "model-name-unresolved"),
    (r"Connection was refused|ConnectionRefused", "model-connection-refused"),
    (r"not JSON: <|not a JSON object: <", "model-web-page"),
    (
        r"^HTTP [45]\d\d.*(?:is `model` right|model_not_found|\bmodel\b(?!s).*\bnot\b)",
        "model-unknown",
    ),
    (r"^HTTP 404", "model-path-unknown"),
    (r"redirect not followed", "model-redirected"),
    (r"^HTTP 5\d\d", "model-server-error"),
    (r"^HTTP 40[03].*model", "model-forbidden"),
    (r"connection was (?:lost|closed)|without a finish", "model-disconnected"),
    (r"within [0-9.]+ s|timed out waiting", "model-timeout"),
)
"""Patterns for the detail of a failed call, with the remedies' ids; the first match wins."""

BY_REASON = {
    "misconfigured": "model-misconfigured",
    "quota": "model-quota",
    "busy": "model-busy",
    "refused": "model-refused",
    "too_long": "model-too_long",
    "unknown": "model-not-loaded",
}
PATIENCE_S = 150.0
IN_TIME_S = 12.0


def models(config: Config, *, reachable: bool) -> Iterator[Finding]:
    """Make the daemon request one token from each model of each assistant, which is billed."""
    for name, assistant in config.assistant.items():
        if not reachable:
            yield skipped(
                say("assistant {name}", name=name), say("not checked: the daemon is not available")
            )
            continue
        for result in _try(name, assistant):
            yield _finding(name, result)


def _finding(name: str, result: Json) -> Finding:
    check, more = say("assistant {name}", name=name), {"assistant": name, "model": result["model"]}
    if not result["ok"]:
        detail = f"{result['model']}: {render.printable(result['detail'])}"
        return failed(check, detail, remedy_of(result), reason=result["reason"], **more)
    slow = say(", too late for WeChat: users get a link") if result["took_s"] > IN_TIME_S else ""
    detail = say(
        "{model} answers in {took_s:.1f} s{slow}",
        model=result["model"],
        took_s=result["took_s"],
        slow=slow,
    )
    return passed(check, detail, took_s=result["took_s"], **more)


def _try(name: str, configured: Assistant) -> list[Json]:
    """Make the daemon call an assistant's models; those that it has not loaded are `unknown`."""
    path = f"/assistants/{quote(name, safe='')}/try"
    patience_s = max(PATIENCE_S, configured.total_timeout + 10)
    try:
        status, results = control.request("POST", path, timeout_s=patience_s)
    except Unreachable as error:
        timed_out = "timed out" in str(error)
        why = (
            say("no answer within {patience_s:g} s", patience_s=patience_s)
            if timed_out
            else reason(error)
        )
        return [_unknown(model, why) for model in configured.choice]
    if status == 503:
        return [_unknown(model, say("the daemon is still starting")) for model in configured.choice]
    if status != 200:
        return [
            _unknown(model, say("the daemon has not loaded this assistant"))
            for model in configured.choice
        ]
    tested = {result["model"] for result in results}
    missing = [model for model in configured.choice if model not in tested]
    return [
        *(result for result in results if result["model"] in configured.choice),
        *(_unknown(model, "the daemon has not loaded this configuration") for model in missing),
    ]


def _unknown(model: str, detail: str) -> Json:
    return {"ok": False, "model": model, "reason": "unknown", "detail": detail}


def remedy_of(result: Json) -> str:
    """Return the id of the remedy for a failed call, chosen by its `reason` and `detail`."""
    default = BY_REASON.get(result["reason"], "model-unavailable")
    matches = (fix for sign, fix in REMEDIES if re.search(sign, result["detail"], re.IGNORECASE))
    is_specific = result["reason"] in ("unavailable", "misconfigured")
    return next(matches, default) if is_specific else default
