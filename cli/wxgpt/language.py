"""The operator's language: `--lang`, WXGPT_LANG, or that of the environment (LC_ALL, LANG).

Texts are in English in the code, and their translations are in `locale/`. Everything goes through
`gettext`, as click's own texts do. JSON is never translated.
"""

from __future__ import annotations

import gettext
import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from functools import cache
from pathlib import Path

from wxgptd.errors import WxgptError
from wxgptd.wording import Wording, reason, say, say_number

CATALOGUES = Path(__file__).parent / "locale"
DOMAIN = "wxgpt"
WITH_VALUE = ("--config", "--color", "--lang", "--on")
"""The options before a command that take a value."""

LOCALES = {"en": "en", "zh": "zh_CN"}
"""The languages, and the locale of each one's catalogue; English needs none."""


def wanted(arguments: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return the language for a command line; `--lang` is needed before the rest is parsed."""
    given, rest = "", list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        name, equals, value = rest[0].partition("=")
        if name == "--lang":
            given = value if equals else next(iter(rest[1:]), "")
        rest = rest[1 if equals or name not in WITH_VALUE else 2 :]
    names = (given, *(environ.get(name, "") for name in ("WXGPT_LANG", "LC_ALL", "LC_MESSAGES")))
    chosen = next((name for name in (*names, environ.get("LANG", "")) if name), "")
    return "zh" if re.match(r"(?i)zh(?:$|[_.@-])", chosen) else "en"


def choose(language: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Show texts in that language from now on, those of click and `gettext` included."""
    environ["LANGUAGE"] = LOCALES[language]  # which is what gettext looks at
    gettext.bindtextdomain(DOMAIN, str(CATALOGUES))
    gettext.textdomain(DOMAIN)
    _translation.cache_clear()


def current() -> str:
    """Return the language that was chosen, `en` or `zh`."""
    return "zh" if os.environ.get("LANGUAGE") == LOCALES["zh"] else "en"


@cache
def _translation(text: str, plural: str, n: int) -> str:
    return gettext.ngettext(text, plural, n) if plural else gettext.gettext(text)


def shown(text: object) -> str:
    """Return a text, or the message of an error, in the operator's language.

    Values inside it are translated, too, if they are texts themselves.
    """
    if isinstance(text, WxgptError):
        text = reason(text)
    if not isinstance(text, Wording):
        return _translation(str(text), "", 0) if text else ""
    number = text.values.get("n", 0)
    template = _translation(text.template, text.plural, number if isinstance(number, int) else 0)
    translated = {
        name: shown(value) if isinstance(value, Wording | WxgptError) else value
        for name, value in text.values.items()
    }
    return template.format_map(translated)


def spoken(template: str, /, **values: object) -> str:
    """Return the text of a template in the operator's language."""
    return shown(say(template, **values))


def spoken_number(n: int, one: str, many: str, /, **values: object) -> str:
    """Return the text of one of two templates, depending on the number, in that language."""
    return shown(say_number(n, one, many, **values))
