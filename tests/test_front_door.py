"""What contributors and package indexes read: it must not contradict the project."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from wxgpt.diagnosis.machine import PYTHONS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", ["workflows/ci.yml"]),
        ("vendor.github-issue-forms", ["ISSUE_TEMPLATE/bug.yml", "ISSUE_TEMPLATE/idea.yml"]),
        ("vendor.github-issue-config", ["ISSUE_TEMPLATE/config.yml"]),
    ],
)
def test_files_for_github_are_valid(schema, files):
    paths = [str(ROOT / ".github" / name) for name in files]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *paths],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ci_the_classifiers_and_doctor_agree_on_the_supported_pythons():
    workflow = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    [matrix] = re.findall(r"python: \[(.*)\]", workflow)
    tested = re.findall(r"3\.\d+", matrix)
    classified = [
        found[1]
        for line in PROJECT["classifiers"]
        if (found := re.search(r"Python :: (3\.\d+)$", line))
    ]
    (_, least), (_, most) = PYTHONS
    supported = [f"3.{minor}" for minor in range(least, most + 1)]
    assert tested == classified == supported
    assert PROJECT["requires-python"] == f">={supported[0]}"


def test_a_bug_report_asks_for_what_doctor_found():
    assert "wxgpt doctor --json" in (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text("utf-8")


def test_contributing_names_files_that_exist():
    named = re.findall(r"`([\w./]+(?:\.py|/))`", CONTRIBUTING)
    assert len(named) > 8
    places = (ROOT, ROOT / "wxgptd", ROOT / "cli" / "wxgpt")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_contributing_names_targets_that_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"make (\w+)", CONTRIBUTING):
        assert re.search(rf"(?m)^{target}:", makefile), target


@pytest.mark.parametrize("package", ["wxgptd", "cli/wxgpt"])
def test_packages_are_marked_as_typed(package):
    assert (ROOT / package / "py.typed").exists()
    assert "Typing :: Typed" in PROJECT["classifiers"]
