"""What the daemon says of its models and its health, in the operator's language.

The daemon's status is JSON, in English. What is known here is translated; the words of model
servers and of the system inside it stay as they are.
"""

from __future__ import annotations

import re
from functools import cache

from wxgpt.language import shown, spoken
from wxgptd.wording import Wording, say

SAYINGS = (
    say("ok"),
    say("last call failed"),
    say("circuit breaker open, retrying in {n} s: {why}", n="", why=""),
    say("circuit breaker open, retrying with the next question: {why}", why=""),
    say("{why}, but a probe succeeded {n} s ago", why="", n=""),
    say("{reason}: {why}, {n} s ago", reason="", why="", n=""),
    say("{name}: circuit breaker open", name=""),
    say("the check itself failed: {why}", why=""),
    say("no response within {n} s", n=""),
    say("no first token within {n} s", n=""),
    say("not finished within {n} s", n=""),
    say("the stream was empty"),
    say("the stream ended without a finish reason"),
    say("the answer is empty"),
    say("no commit to the log for {n} s", n=""),
    say("no thread has responded for {n} s", n=""),
    say("no health check for more than {n} s", n=""),
    say("on"),
    say("not permitted"),
    say("paused for {n} min", n=""),
    say("the user has left, cleared the session or was blocked"),
    say("WeChat rejects the tokens issued for the app_secret: check whether it was changed"),
    say("the message is too long"),
    say("the user has not written for 48 hours"),
    say("the user has received as many messages as WeChat allows after one of their own"),
    say("no such user"),
    say("the app_id is wrong"),
    say("the app_secret is wrong"),
    say(
        "this machine's address is not in the account's IP whitelist "
        "(微信开发者平台 → 公众号 → 基础信息 → API IP白名单)"
    ),
    say("the account may not send customer-service messages"),
)
"""The templates of what the daemon says; the first one that fits is used."""


def heard(text: object) -> str:
    """Return what the daemon said, translated as far as it is known."""
    said = str(text)
    parts = said.split("; circuit breaker open")
    if len(parts) > 1:  # of several models
        return "; ".join([heard(parts[0]), *(heard(f"circuit breaker open{p}") for p in parts[1:])])
    for saying in SAYINGS:
        if match := _pattern(saying).fullmatch(said):
            values = match.groupdict()
            if "reason" in values:
                values["reason"] = shown(values["reason"].replace("_", " "))
            if "why" in values:
                values["why"] = heard(values["why"])
            return spoken(saying.template, **values)
    return said


@cache
def _pattern(saying: Wording) -> re.Pattern[str]:
    """Return the pattern of a template; a number is digits, anything else is any text."""
    pattern = re.escape(saying.template)
    for name in saying.values:
        what = {"n": r"[0-9.]+", "reason": r"[a-z_]+"}.get(name, r".+")
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{what})")
    return re.compile(pattern, re.DOTALL)
