"""Update the translations of `wxgpt`.

    python cli/catalogues.py            (or: make catalogues)

It collects all texts from the code, updates `wxgpt/locale/zh_CN/LC_MESSAGES/wxgpt.po` and compiles
it. New texts have no translation then: write them into the file, and run it again. A test checks
that nothing is missing.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import click
from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from wxgpt import help_text, options, render, topics
from wxgpt.commands import status as status_command
from wxgpt.commands import usage
from wxgpt.diagnosis import remedies
from wxgpt.failures import EXIT_STATUSES
from wxgpt.language import CATALOGUES, DOMAIN
from wxgpt.log import rendering
from wxgpt.main import COMMANDS, cli, load
from wxgpt.setup import configuration
from wxgpt.setup.providers import PROVIDERS
from wxgpt.wechat import peer, silence
from wxgptd import __version__
from wxgptd.domain.model import values
from wxgptd.errors import WxgptError
from wxgptd.ports.record import Hidden
from wxgptd.ports.status import DaemonStatus

ROOT = Path(__file__).parent.parent
CHINESE = CATALOGUES / "zh_CN" / "LC_MESSAGES" / f"{DOMAIN}.po"

CALLS = {
    "passed": (1,), "failed": (1,), "skipped": (1,), "notice": (1,), "_guarded": (1,),
    "_chapter": None, "_require": (2,),
    "say": None, "spoken": None, "say_number": (2, 3), "spoken_number": (2, 3),
}  # fmt: skip
NEVER = datetime(2026, 1, 1, tzinfo=UTC)
"""The dates in the file, which would change it each time otherwise."""

CLICK_CALLS = {"_": None, "ngettext": (1, 2)}
ENUMS: tuple[type[StrEnum], ...] = (
    values.CloseReason, values.FailureReason, values.ReplyKind, values.Notice, values.Standing,
    values.Rating, peer.Result, Hidden,
)  # fmt: skip


class Text(NamedTuple):
    """A text to translate; `plural` is its form for other numbers than one, if it has a number."""

    text: str
    plural: str = ""


def texts() -> list[Text]:
    """Return everything that is shown in the operator's language, each text once."""
    found = dict.fromkeys(
        text for text in _all() if re.search("[a-z]{2}", re.sub("{.*?}", "", text.text))
    )
    numbered = {text.text for text in found if text.plural}
    return [text for text in found if text.plural or text.text not in numbered]


def _all() -> Iterator[Text]:
    for package in ("cli/wxgpt", "wxgptd"):
        yield from _in_calls(ROOT / package, CALLS)
    yield from _in_help(cli)
    yield from map(Text, _in_tables())
    yield from (Text(f"{{n:,}} {noun}", f"{{n:,}} {noun}s") for noun in render.COUNTED)
    yield from _in_calls(Path(click.__file__).parent, CLICK_CALLS)


def _in_calls(directory: Path, calls: dict[str, tuple[int, ...] | None]) -> Iterator[Text]:
    with redirect_stderr(io.StringIO()):  # it warns of f-strings, which are values here
        found = list(extract_from_dir(directory, [("**.py", "python")], keywords=calls))
    for _, _, text, _, _ in sorted(found, key=lambda each: each[:2]):
        yield Text(*text) if isinstance(text, tuple) else Text(text)


def _in_help(command: click.Command) -> Iterator[Text]:
    for paragraph in help_text.paragraphs(command.help or ""):
        if paragraph.startswith(help_text.VERBATIM):
            for line in paragraph.split("\n"):
                yield from map(Text, help_text.parts(line))
        else:
            yield Text(paragraph)
    for param in command.params:
        if isinstance(param, click.Option) and param.help:
            yield Text(param.help)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = load(name) if command is cli else command.get_command(context, name)
            assert inner is not None
            yield from _in_help(inner)


def _in_tables() -> Iterator[str]:
    yield from COMMANDS.values()
    yield from EXIT_STATUSES.values()
    for about, text in topics.TOPICS.values():
        yield about
        yield from text.rstrip().split("\n\n")
    yield from remedies.REMEDIES.values()
    yield from silence.REASONS.values()
    yield from rendering.LABELS.values()
    yield from (provider.title for provider in PROVIDERS.values())
    yield from (provider.keys for provider in PROVIDERS.values() if " " in provider.keys)
    yield from (status_command.label(field.name) for field in fields(DaemonStatus))
    yield from usage.GROUPINGS
    yield from configuration.comments()
    yield options.TIME_FORMS
    for enum in ENUMS:
        yield from (rendering.words(member) for member in enum)
    yield from _default_messages()


def _default_messages() -> Iterator[str]:
    """Yield the docstrings of all errors, whether or not their modules are imported."""
    classes = [
        node
        for package in ("wxgptd", "cli/wxgpt")
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    errors: set[str] = set()
    known = {WxgptError.__name__}
    while known - errors:
        errors |= known
        known = {
            each.name for each in classes if {ast.unparse(base) for base in each.bases} & errors
        }
    for each in classes:
        message = ast.get_docstring(each) or ""
        if each.name in errors and message[:1].islower():
            yield message


def updated(catalogue: Catalog) -> Catalog:
    """Return the catalogue with all texts, and without those that are no longer in the code."""
    fresh = Catalog(
        locale="zh_CN",
        domain=DOMAIN,
        header_comment="# The texts of wxgpt in Chinese; written by cli/catalogues.py.",
        project="wxgpt",
        version=__version__,
        creation_date=NEVER,
        revision_date=NEVER,
        last_translator="",
        language_team="",
        fuzzy=False,
    )
    for text in texts():
        known = catalogue.get(text.text)
        fresh.add(
            (text.text, text.plural) if text.plural else text.text,
            known.string if known else "",
            flags=["python-brace-format"] if "{" in text.text else [],
        )
    return fresh


def read() -> Catalog:
    """Return the catalogue as it is on disk."""
    with CHINESE.open("rb") as file:
        return read_po(file, locale="zh_CN", domain=DOMAIN)


def compiled(catalogue: Catalog) -> bytes:
    """Return the catalogue as `gettext` reads it."""
    data = io.BytesIO()
    write_mo(data, catalogue)
    return data.getvalue()


def main() -> int:
    """Update and compile; return 1 if translations are missing."""
    catalogue = updated(read() if CHINESE.exists() else Catalog(locale="zh_CN"))
    CHINESE.parent.mkdir(parents=True, exist_ok=True)
    with CHINESE.open("wb") as file:
        write_po(file, catalogue, width=100, omit_header=False, no_location=True)
    CHINESE.with_suffix(".mo").write_bytes(compiled(catalogue))
    missing = [message for message in catalogue if message.id and not all(_strings(message.string))]
    for message in missing:
        sys.stderr.write(f"not translated: {message.id!r}\n")
    return int(bool(missing))


def _strings(string: object) -> tuple[object, ...]:
    return string if isinstance(string, tuple) else (string,)


if __name__ == "__main__":
    sys.exit(main())
