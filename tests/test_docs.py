"""Statements in the documents that must agree with the program."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from wxgptd.domain.replies.texts import Texts, without_taps

ROOT = Path(__file__).parent.parent
MODELS = (ROOT / "docs" / "models.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name",
    ["misconfigured", "quota", "too_long", "refused", "unavailable"],
)
def test_the_documented_failure_texts_match_the_catalogue(name):
    assert getattr(without_taps(Texts()), f"failure_{name}") in MODELS


def test_the_documented_texts_for_incomplete_answers_match_the_catalogue():
    assert without_taps(Texts()).interrupted in MODELS
    assert without_taps(Texts()).cut_short in MODELS
    assert without_taps(Texts()).failure_busy.replace("{seconds}", "N") in MODELS


DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/zh/*.md"))
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_to_a_file_resolves(name):
    here = ROOT / name
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", here.read_text("utf-8")):
        assert (here.parent / target).exists(), target


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("docs/*.md")))
def test_every_document_has_a_chinese_translation(name):
    assert (ROOT / "docs" / "zh" / name).exists()


@pytest.mark.processes
def test_the_generated_documents_are_up_to_date():
    """Check the configuration reference and the manual pages, which `make docs` writes."""
    completed = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


@pytest.mark.processes
def test_the_daemon_s_manual_lists_every_option_and_exit_status():
    manual = (ROOT / "docs/man/man8/wxgptd.8").read_text("utf-8").replace("\\-", "-")
    usage = subprocess.run(
        [sys.executable, "-m", "wxgptd", "--help"], capture_output=True, text=True
    ).stdout
    for option in re.findall(r"--[a-z-]+", usage):
        assert option in manual
    for status in ("0", "1", "4", "5", "75"):
        assert f".TP\n{status}\n" in manual


def test_the_documented_settings_are_valid_toml():
    for name in DOCUMENTS:
        for block in re.findall(
            r"(?:^    .*\n|^\n(?=    ))+", (ROOT / name).read_text("utf-8"), re.MULTILINE
        ):
            text = re.sub(r"(?m)^    (wxgpt .*\n)?", "", block)
            if re.match(r"\s*\[", text) and "[Unit]" not in text:
                tomllib.loads(text)


def test_every_documented_command_exists():
    from wxgpt.main import COMMANDS

    for name in DOCUMENTS:
        text = (ROOT / name).read_text("utf-8")
        for command in re.findall(r"(?m)^    wxgpt (?:--(?:config|on) \S+ )?([a-z-]+)", text):
            assert command in COMMANDS, command


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_module_that_a_document_names_exists(name):
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", (ROOT / name).read_text("utf-8")))
    assert len(named) > 10
    modules = [
        path.relative_to(ROOT).as_posix()
        for folder in ("wxgptd", "cli", "tests", "bench", "docs")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert [
        name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in modules)
    ] == []
