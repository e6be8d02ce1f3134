"""What the documents say that the program could contradict."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wxgptd.domain.texts import Texts

ROOT = Path(__file__).parent.parent
MODELS = (ROOT / "docs" / "models.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name",
    ["misconfigured", "quota", "too_long", "refused", "unavailable"],
)
def test_the_text_of_each_failure_is_the_one_that_users_read(name):
    assert getattr(Texts(), f"failure_{name}") in MODELS


def test_the_texts_of_what_is_not_whole_are_those_that_users_read():
    assert Texts().interrupted in MODELS
    assert Texts().cut_short in MODELS
    assert Texts().failure_busy.replace("{seconds}", "N") in MODELS


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "ARCHITECTURE.md"])
def test_every_link_to_a_file_leads_somewhere(name):
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text("utf-8")):
        assert (ROOT / target).exists(), target


def test_every_command_that_the_readmes_name_is_there():
    from wxgpt.main import COMMANDS

    for name in ("README.md", "README.zh-CN.md"):
        said = (ROOT / name).read_text("utf-8")
        for command in re.findall(r"(?m)^    wxgpt (?:--config \S+ )?([a-z-]+)", said):
            assert command in COMMANDS, command
