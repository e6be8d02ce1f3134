"""The project's English: phrases that a native speaker would not write do not come back.

The list grows when a reader stumbles over a phrase. It covers comments, docstrings, identifiers
and the texts of the program and its documentation; quotations and test data are exempt.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

CALQUES = {
    r"whoever": "the operator, the user, the caller",
    r"nobody|somebody|everybody": "no user, a user, all users; or use the passive voice",
    r"anew": "again",
    r"mend(?:s|ed|ing)?": "repair, fix",
    r"any more": "any longer; or leave it out",
    r"(?:takes?|took|wants?) a restart": "restart required",
    r"(?:is|are|was|were) told of": "receives, is notified of",
    r"(?:goes|go|gone|went) on with": "continues, resumes",
    r"for want of": "without, because there is no",
    r"sees? to it": "ensures",
    r"(?:tell|look) whether": "determine, check",
    r"of that one's": "of its",
    r"is no words": "contains no words",
    r"one is wanted": "one is required",
    r"behind": "after; in the sense of order or time",
    r"what is whole": "sealed segment",
    r"stands? for nothing": "means nothing",
}

POSITIONS = re.compile(
    r"(?:\b(?:is|are|falls?|left|leaves?|lag(?:s|ging)?|nothing|points?|proxy|connections?|if) behind"
    r"|\bbehind (?=(?:(?:a|an|the|one|their|real|any) )*(?:`?token|links?|URL|router|firewall|NAT"
    r"|(?:reverse )?proxy|nginx|Caddy|Flask|it's))"
    r"|\bbehind(?= this machine's clock| \{|$|[),;.]))",
    re.IGNORECASE,
)
"""What is behind a proxy, a link or another clock: position, not order."""

QUOTED = re.compile(r"`[^`\n]*`|“[^”]*”|‘[^’]*’|\"[^\"\n]*\"")


def calques_in(text: str) -> list[str]:
    """Return the phrases in `text`, outside quotations, that a native speaker would not write."""
    plain = QUOTED.sub(" ", POSITIONS.sub(" ", " ".join(text.split())))
    return [
        f"{found[0]!r} (say: {better})"
        for phrase, better in CALQUES.items()
        for found in re.finditer(rf"\b(?:{phrase})\b", plain, re.IGNORECASE)
    ]


def texts_in(source: str, *, strings: bool) -> Iterator[tuple[int, str]]:
    """Yield comments, docstrings and names with their lines; with `strings`, other strings too."""
    comment: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield last, " ".join(comment)
                comment = []
            comment.append(token.string.lstrip("#: "))
            last = token.start[0]
        elif token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", token.string).strip()
            if " " in spaced:
                yield token.start[0], spaced
    yield last, " ".join(comment)
    tree = ast.parse(source)
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                continue
            if isinstance(parent, ast.Expr) or (strings and " " in node.value):
                yield node.lineno, node.value


def python_files() -> list[Path]:
    folders = ("wxgptd", "cli", "bench", "tests", "docs")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_source_is_plain_english(path):
    if path == Path(__file__):
        return
    own = path.relative_to(ROOT).parts[0] != "tests"
    found = [
        f"{path.name}:{line}: {calque}"
        for line, text in texts_in(path.read_text("utf-8"), strings=own)
        for calque in calques_in(text)
    ]
    assert found == []


def documents() -> list[Path]:
    named = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.md")]
    return sorted(path for path in named if not path.name.endswith("zh-CN.md"))


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_documentation_is_plain_english(path):
    prose = re.sub(r"```.*?```", " ", path.read_text("utf-8"), flags=re.DOTALL)
    found = [
        calque for block in re.split(r"\n\s*\n|\n(?=[-*|])", prose) for calque in calques_in(block)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "Nobody asks twice.",
        "the operator, whoever that is",
        "mended at the next start",
        "a change that takes a restart",
        "The page goes on with the answer.",
        "a segment\n    behind the snapshot",
        "read anew",
        "not answered any more",
    ],
)
def test_a_calque_is_found(text):
    assert calques_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "It was `takes a restart`, it is `restart required`.",
        "the answer behind `token`",
        "the daemon runs behind a reverse proxy",
        "A failed action must leave nothing behind.",
        "The amendment recommends it.",
    ],
)
def test_a_quotation_and_a_position_are_no_calques(text):
    assert calques_in(text) == []


def test_names_are_read_word_by_word():
    source = "def test_nobody_asks():\n    whoCares = 'nobody at all'\n"
    texts = [text for _, text in texts_in(source, strings=True)]
    assert "test nobody asks" in texts
    assert "nobody at all" in texts
    assert "nobody at all" not in [text for _, text in texts_in(source, strings=False)]
