"""The wheel, the sdist, the lock files and the container image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from wxgptd import __version__

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.processes


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def test_the_wheel_contains_both_packages_and_their_data_files(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "wxgpt",
        "wxgptd",
        f"wxgptd-{__version__}.data",
        f"wxgptd-{__version__}.dist-info",
    }
    for name in ("wxgptd.service", "wxgptd.socket", "nginx.conf", "Caddyfile"):
        assert f"wxgpt/etc/{name}" in names
    shared = f"wxgptd-{__version__}.data/data/share"
    assert f"{shared}/man/man8/wxgptd.8" in names
    assert f"{shared}/man/man1/wxgpt-tail.1" in names
    assert f"{shared}/man/zh_CN/man1/wxgpt-tail.1" in names
    assert "wxgpt/locale/zh_CN/LC_MESSAGES/wxgpt.mo" in names
    assert f"{shared}/doc/wxgptd/grafana-dashboard.json" in names
    for name in ("templates/answer.html", "static/live.js", "static/page.css", "static/icon.svg"):
        assert f"wxgptd/pages/{name}" in names


def test_the_wheel_works_in_an_empty_environment(wheel_environment, tmp_path):
    bin_ = wheel_environment / "bin"
    assert run(bin_ / "wxgpt", "--version").stdout == f"wxgpt, version {__version__}\n"
    assert run(bin_ / "wxgptd", "--version").stdout == f"wxgptd {__version__}\n"
    config = tmp_path / "wxgptd.toml"
    config.write_text((ROOT / "etc" / "wxgptd.toml").read_text())
    config.chmod(0o600)
    checked = run(bin_ / "wxgpt", "--config", config, "check")
    assert checked.returncode == 0, checked.stderr
    written = run(bin_ / "wxgpt", "init", "--root", tmp_path / "root", *["--provider", "ollama", "--domain", "chat.example.org", "--plain", "--systemd", "--web", "nginx"])  # fmt: skip
    assert written.returncode == 0, written.stderr
    unit = (tmp_path / "root/etc/systemd/system/wxgptd.service").read_text()
    assert f"ExecStart={bin_}/wxgptd" in unit
    # The daemon can be imported with only the wheel's declared dependencies installed.
    daemon = run(bin_ / "wxgptd", "--check", "--config", config)
    assert daemon.returncode == 0, daemon.stderr


def test_the_sdist_builds_the_same_wheel(wheel, tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    rebuilt = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=unpacked, capture_output=True, text=True,
    )  # fmt: skip
    assert rebuilt.returncode == 0, rebuilt.stderr
    (other,) = (tmp_path / "dist").glob("*.whl")
    assert set(zipfile.ZipFile(other).namelist()) == set(zipfile.ZipFile(wheel).namelist())


LOCK = (ROOT / "requirements.lock").read_text("utf-8")
LOCKED = dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^ ;\\]+)", LOCK))


def test_the_lock_pins_every_dependency_to_an_allowed_version():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for line in declared["dependencies"]:
        wanted = Requirement(line)
        assert LOCKED[canonicalize_name(wanted.name)] in wanted.specifier


def test_the_lock_has_a_hash_for_every_entry_and_no_url():
    build = (ROOT / "requirements-build.lock").read_text("utf-8")
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", f"\n{LOCK}\n{build}")[1:]:
        assert "--hash=sha256:" in entry, entry
    assert "://" not in LOCK


def test_the_container_files_pass_their_linters():
    linted = run(Path(sys.executable).parent / "hadolint", ROOT / "Dockerfile")
    assert linted.returncode == 0, linted.stdout
    assert "USER 10001" in (ROOT / "Dockerfile").read_text()
    checked = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema",
                  "vendor.compose-spec", ROOT / "compose.yaml",
                  ROOT / "etc" / "compose.cluster.yaml")  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_the_container_installs_only_hash_locked_packages():
    installs = re.findall(
        r"pip install (.+?)(?: \\\\)?$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert len(installs) == 3
    assert all(
        "--require-hashes" in command or "--no-deps /dist" in command for command in installs
    )


def test_every_file_the_container_copies_exists():
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text())
    for names in copied:
        for name in names.split():
            assert (ROOT / name).exists(), name


def test_uv_installs_the_wheel_as_a_tool(wheel, tmp_path):
    uv = Path(sys.executable).parent / "uv"
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    completed = subprocess.run(
        [uv, "tool", "install", "--quiet", "--python", sys.executable, wheel],
        capture_output=True, text=True, env={**os.environ, **places, "UV_PYTHON_DOWNLOADS": "never"},
    )  # fmt: skip
    if completed.returncode and "error sending request" in completed.stderr:
        pytest.skip("the package index with the dependencies cannot be reached")
    assert completed.returncode == 0, completed.stderr
    for name in ("wxgpt", "wxgptd"):
        assert __version__ in run(tmp_path / "bin" / name, "--version").stdout


def test_the_container_builds_if_an_engine_is_available(tmp_path):
    docker = shutil.which("docker")
    if docker is None or run(docker, "info").returncode:
        pytest.skip("no container engine is running")
    built = run(docker, "build", "--quiet", "-t", "wxgptd-test", ROOT)
    assert built.returncode == 0, built.stderr
    version = run(docker, "run", "--rm", "wxgptd-test", "--version").stdout
    assert version == f"wxgptd {__version__}\n"
