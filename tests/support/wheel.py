"""The wheel, and a virtual environment with only the wheel: each built once per test run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SYSTEM_PYTHON = "/usr/bin/python3"
"""The booted machine has this interpreter, but not the one in a developer's environment."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a directory that the first test process makes for all of them."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    directory, ready = base / name, base / f"{name}.ready"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            make(directory)
            ready.touch()
    return directory


def build(directory: Path) -> None:
    """Build the wheel of this checkout into `directory`."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = made_once(tmp_path_factory, "wheel", build).glob("*.whl")
    return path


@pytest.fixture(scope="session")
def wheel_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with the wheel; skip the test if no package index responds."""
    python = SYSTEM_PYTHON if _can_make_environments(SYSTEM_PYTHON) else sys.executable

    def install(directory: Path) -> None:
        subprocess.run([python, "-m", "venv", str(directory)], check=True)
        command = [str(directory / "bin/python"), "-m", "pip", "install", "--quiet", str(wheel)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "No matching distribution" in done.stderr:
            pytest.skip("the package index with the dependencies cannot be reached")
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "wheel-environment", install)


def _can_make_environments(python: str) -> bool:
    needed = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"
    command = [python, "-c", needed]
    return Path(python).exists() and subprocess.run(command, capture_output=True).returncode == 0


def copy_environment(environment: Path, root: Path, place: str) -> None:
    """Copy a virtual environment to `place` on the machine whose root directory is `root`."""
    target = root / place.lstrip("/")
    shutil.copytree(environment, target, symlinks=True)
    for script in (target / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            text = script.read_bytes()
            script.write_bytes(text.replace(bytes(environment), place.encode()))
