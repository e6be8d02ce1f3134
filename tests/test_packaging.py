"""The wheel, in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from wxgptd import __version__

ROOT = Path(__file__).parent.parent


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (path,) = target.glob("*.whl")
    return path


def test_the_wheel_holds_the_two_packages_and_what_the_pages_need(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "wxgpt",
        "wxgptd",
        f"wxgptd-{__version__}.dist-info",
    }
    for name in ("templates/answer.html", "static/live.js", "static/page.css", "static/icon.svg"):
        assert f"wxgptd/pages/{name}" in names


@pytest.mark.processes
def test_the_wheel_works_in_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    installed = run(python, "-m", "pip", "install", "--quiet", wheel)
    if installed.returncode and "No matching distribution" in installed.stderr:
        pytest.skip("the package index cannot be reached, and the dependencies are there")
    assert installed.returncode == 0, installed.stderr
    bin_ = python.parent
    assert run(bin_ / "wxgpt", "--version").stdout == f"wxgpt, version {__version__}\n"
    assert run(bin_ / "wxgptd", "--version").stdout == f"wxgptd {__version__}\n"
    config = tmp_path / "wxgptd.toml"
    config.write_text((ROOT / "etc" / "wxgptd.toml").read_text())
    config.chmod(0o600)
    checked = run(bin_ / "wxgpt", "--config", config, "check")
    assert checked.returncode == 0, checked.stderr
    # All that the daemon imports, with nothing but what the wheel asks for.
    daemon = run(bin_ / "wxgptd", "--check", "--config", config)
    assert daemon.returncode == 0, daemon.stderr
