"""Third-party servers, each installed into its own directory."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.processes import Stage, free_port

HOME = Path(__file__).parent.parent.parent / ".peers"


class Peer:
    """A server in its own virtual environment."""

    def __init__(self, name: str, *requirements: str) -> None:
        self.bin = HOME / name / "bin"
        ready = HOME / name / "ready"
        if not ready.exists():
            try:
                subprocess.run([sys.executable, "-m", "venv", HOME / name], check=True, timeout=120)
                subprocess.run(
                    [self.bin / "python", "-m", "pip", "install", "-q", *requirements],
                    check=True,
                    timeout=900,
                    capture_output=True,
                )
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"{name} cannot be installed here: {error}")
            ready.touch()
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *command: str | Path, ready: str, log: Path) -> None:
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(self.url + ready, timeout=5):
                    return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(log.read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path)
    yield stage
    stage.end()
