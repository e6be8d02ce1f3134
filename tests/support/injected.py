"""System calls that fail or kill the process: see injected.c."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest


@cache
def library(name: str = "injected") -> Path:
    """Build the library to preload from NAME.c; skip the test if there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to build the injection")
    built = Path(mkdtemp(prefix="wxgptd-injected-")) / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(built), str(source), "-ldl"], check=True
    )
    return built


def variables(below: Path, what: str, at: str, **more: str) -> dict[str, str]:
    """Return the variables that injure system call number `at` on files below `below`.

    `more` are `calls`, `slow`, `while_` and `total`, as in injected.c.
    """
    named = {f"INJECT_{name.rstrip('_').upper()}": value for name, value in more.items()}
    return {"INJECT_BELOW": f"{below}/", "INJECT_WHAT": what, "INJECT_AT": at, **named}


def environment(below: Path, what: str, at: str, **more: str) -> dict[str, str]:
    """Return a process environment with these variables set."""
    # Coverage's own system calls would be injured too.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    return {**inherited, "LD_PRELOAD": str(library()), **variables(below, what, at, **more)}
