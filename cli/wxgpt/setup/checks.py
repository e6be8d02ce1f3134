"""Check what is typed into `wxgpt init`.

Each function returns the answer in its canonical form, or raises UsageFailure.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress

from wxgpt.failures import UsageFailure
from wxgpt.render import number
from wxgpt.setup.providers import PROVIDERS, Price
from wxgptd.wording import say

MOST_MONEY = 1e9
_DOMAIN = r"(?=.{4,190}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]+"


def text(answer: str) -> str:
    """Return a text that is not empty."""
    if not answer:
        raise UsageFailure(say("a value is required"))
    return answer


def model(answer: str) -> str:
    """Return the name of a model."""
    if answer.startswith("sk-"):
        raise UsageFailure(say("that is a key; the name of the model is asked for here"))
    if answer != " ".join(answer.split()):
        raise UsageFailure(say("the name of a model has no spaces around it and no tabs"))
    return text(answer)


def provider(answer: str) -> str:
    """Return the name of a provider, given as such or as its number in the list."""
    names = list(PROVIDERS)
    if answer.startswith("sk-"):
        raise UsageFailure(say("that is a key; the provider is asked for here"))
    if re.fullmatch(r"[0-9]{1,3}", answer) and 1 <= int(answer) <= len(names):
        return names[int(answer) - 1]
    if answer not in PROVIDERS:
        raise UsageFailure(
            say("no such provider: {answer}", answer=answer),
            hint=say("providers: {names}", names=", ".join(names)),
        )
    return answer


def key(answer: str) -> str:
    """Return an API key."""
    if len(answer) > 1 and answer[0] in "\"'`" and answer[0] == answer[-1]:
        raise UsageFailure(say("remove the quotes around the key"))
    if not answer or re.search(r"[^\x21-\x7e]", answer):
        raise UsageFailure(say("not an API key: empty, or has spaces or non-ASCII characters"))
    return answer


def amount(answer: str) -> str:
    """Return an amount of money, from 0 to a thousand million."""
    return number(amount_of(answer))


def amount_of(answer: str) -> float:
    """Return an amount of money as a number."""
    plain = unicodedata.normalize("NFKC", answer).removesuffix("元").strip().lstrip("¥$")
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,6})?", plain) or float(plain) > MOST_MONEY:
        raise UsageFailure(say("{answer!r} is not an amount, such as 20", answer=answer))
    return float(plain)


def price(answer: str) -> str:
    """Return prices of input and output, such as 2/8; a single one holds for both."""
    return str(price_of(answer))


def price_of(answer: str) -> Price:
    """Return prices of input and output as numbers."""
    parts = re.split(r"\s*[/,、\s]\s*", unicodedata.normalize("NFKC", answer).strip())
    try:
        amounts = [amount_of(part) for part in parts]
    except UsageFailure:
        amounts = []
    if len(amounts) not in (1, 2):
        raise UsageFailure(
            say("{answer!r} is not a price for input and output, such as 2/8", answer=answer)
        )
    return Price(amounts[0], amounts[-1])


def count(answer: str) -> str:
    """Return a number of things."""
    plain = unicodedata.normalize("NFKC", answer)
    if not re.fullmatch(r"[0-9]{1,9}", plain):
        raise UsageFailure(say("{answer!r} is not a number, such as 100", answer=answer))
    return str(int(plain))


def base_url(answer: str) -> str:
    """Return the address of an API."""
    from wxgptd.config.values import address_error, parse_http_url

    if parse_http_url(answer) is None:
        raise UsageFailure(
            say("{answer!r}: {why}", answer=answer, why=address_error(answer)),
            hint="https://api.deepseek.com",
        )
    return answer


def domain(answer: str) -> str:
    """Return a domain name, without a scheme and a trailing slash, as DNS writes it (IDNA)."""
    host = re.sub(r"^https?://", "", answer.replace("。", ".").lower()).strip("/")
    with suppress(UnicodeError):
        host = host.encode("idna").decode()
    if not re.fullmatch(_DOMAIN, host):
        raise UsageFailure(
            say("{answer!r} is not a domain name", answer=answer),
            hint=say("WeChat and phones need a name such as chat.example.com, without a path"),
        )
    return host


def app_id(answer: str) -> str:
    """Return an account's AppID."""
    if not re.fullmatch(r"wx[0-9a-zA-Z]{6,30}", answer):
        raise UsageFailure(
            say(
                "{answer!r} is not an AppID: it is wx followed by letters and digits",
                answer=answer,
            )
        )
    return answer
