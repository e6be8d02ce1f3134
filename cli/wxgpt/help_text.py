"""Help in the operator's language, wrapped by columns: a Chinese character takes two of them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable

import click

from wxgpt import render
from wxgpt.language import shown

VERBATIM = "\b"
"""A paragraph that begins with this is not wrapped (click's convention)."""


def localized(command: click.Command) -> click.Command:
    """Return a copy of a command whose help is in the operator's language."""
    twin = copy.copy(command)
    twin.context_class = Context
    twin.help = "\n\n".join(map(_paragraph, paragraphs(command.help or "")))
    twin.short_help = command.short_help and shown(command.short_help)
    twin.epilog = command.epilog and shown(command.epilog)
    twin.params = [_localized(param) for param in command.params]
    if isinstance(twin, click.Group):
        twin.commands = {name: localized(each) for name, each in twin.commands.items()}
    return twin


def _localized(param: click.Parameter) -> click.Parameter:
    if not isinstance(param, click.Option) or not param.help:
        return param
    twin = copy.copy(param)
    twin.help = shown(param.help)
    return twin


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a help text, each on one line unless it is `VERBATIM`."""
    return [
        paragraph if paragraph.startswith(VERBATIM) else " ".join(paragraph.split("\n"))
        for paragraph in inspect.cleandoc(text).split("\n\n")
    ]


def _paragraph(paragraph: str) -> str:
    if not paragraph.startswith(VERBATIM):
        return shown(paragraph)
    return "\n".join(map(_line, paragraph.split("\n")))


def _line(line: str) -> str:
    for part in parts(line):
        line = line.replace(part, shown(part))
    return line


def parts(line: str) -> list[str]:
    """Return what to translate in a verbatim line: a title, or what is after a command."""
    if line.startswith(("  wxgpt", "  sudo ", "  systemctl")):
        _, _, about = line.strip().partition("  ")
        return [about.strip()] if about else []
    return [line.strip()] if line.strip(f"{VERBATIM} ") else []


class Formatter(click.HelpFormatter):
    """Writes help, wrapped by columns."""

    def write_text(self, text: str) -> None:
        indent = " " * self.current_indent
        width = self.width - self.current_indent
        written = [
            "\n".join(indent + line for line in paragraph.split("\n")[1:])
            if paragraph.startswith(VERBATIM)
            else "\n".join(indent + line for line in render.wrap(paragraph, width))
            for paragraph in paragraphs(text)
        ]
        self.write("\n\n".join(written) + "\n")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        rows = list(rows)
        first = min(max(render.columns(term) for term, _ in rows), col_max) + col_spacing
        indent = " " * self.current_indent
        for term, about in rows:
            lines = render.wrap(about, max(self.width - first - 2, 10)) or [""]
            heads = [term, *[""] * (len(lines) - 1)]
            if render.columns(term) > first - col_spacing:
                self.write(f"{indent}{term}\n")
                heads[0] = ""
            for head, line in zip(heads, lines, strict=True):
                padding = " " * (first - render.columns(head))
                self.write(f"{indent}{head}{padding}{line}".rstrip() + "\n")


class Context(click.Context):
    """The context of a command, whose help is written by `Formatter`."""

    formatter_class = Formatter
