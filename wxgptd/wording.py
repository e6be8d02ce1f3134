"""Text for people, which can be shown in another language.

The code, the daemon's log and JSON are in English. A `Wording` is that English text; it remembers
the template and the values it was made of, so that the command line can show the same in the
operator's language. The templates are the message ids of its catalogues (`cli/wxgpt/locale`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Wording(str):
    """English text, and how it was made; `plural` is the template for other numbers than one."""

    __slots__ = ("plural", "template", "values")
    template: str
    plural: str
    values: Mapping[str, object]

    def __new__(cls, template: str, values: Mapping[str, object], plural: str = "") -> Wording:
        """Fill the values into the template."""
        chosen = plural if plural and values["n"] != 1 else template
        wording = super().__new__(cls, chosen.format_map(values))
        wording.template, wording.plural, wording.values = template, plural, values
        return wording


def say(template: str, /, **values: object) -> Wording:
    """Return the text of a template, as of `str.format`."""
    return Wording(template, values)


def say_number(n: int, one: str, many: str, /, **values: object) -> Wording:
    """Return the text of one of two templates, depending on the number, which is `{n}` in both."""
    return Wording(one, {"n": n, **values}, many)


def listed(parts: Iterable[str], separator: str) -> Wording:
    """Return texts as one, with a separator between them."""
    values = {f"part{number}": part for number, part in enumerate(parts)}
    return Wording(separator.join(f"{{{name}}}" for name in values), values)


def reason(error: BaseException) -> str:
    """Return an error's message, still as a `Wording` if it was one."""
    if len(error.args) == 1 and isinstance(error.args[0], str):
        return error.args[0]
    return str(error)
