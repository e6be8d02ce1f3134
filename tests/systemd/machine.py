"""A machine with its own real systemd and a copy-on-write view of this machine's files.

It boots in a container (systemd-nspawn) on an overlay of `/`, and its changes are discarded with
it. Its only network interface is loopback.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

NEEDED = ("systemd-nspawn", "nsenter", "mount", "umount", "pgrep")
BOOT_WITHIN_S = 120.0


class CannotBoot(Exception):
    """systemd cannot be booted on this machine."""


class Machine:
    """`boot` it, `run` commands in it, `stop` it. `root` is its file system, even while it runs."""

    def __init__(self) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="wxgptd-systemd-"))
        # A second machine with the same name does not boot; a name cannot have underscores.
        self._name = self._base.name.replace("_", "x").strip("-")
        self.root = self._base / "root"
        self._booted: subprocess.Popen[bytes] | None = None
        self._mounted = False
        self._init = 0
        self.console = self._base.with_suffix(".console")

    def prepare(self) -> None:
        """Prepare its file system."""
        missing = [name for name in NEEDED if shutil.which(name) is None]
        if missing or os.geteuid() != 0:
            raise CannotBoot(f"it needs root and {', '.join(missing or NEEDED)}")
        _run("mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "tmpfs", str(self._base))
        self._mounted = True
        for name in ("root", "upper", "work"):
            (self._base / name).mkdir()
        layers = f"lowerdir=/,upperdir={self._base / 'upper'},workdir={self._base / 'work'}"
        _run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        etc = self.root / "etc"
        (etc / "machine-id").write_text(f"{os.urandom(16).hex()}\n")
        for wants in ("multi-user.target.wants", "timers.target.wants", "sockets.target.wants"):
            shutil.rmtree(etc / "systemd/system" / wants, ignore_errors=True)
        journal = etc / "systemd/journald.conf.d"
        journal.mkdir(parents=True, exist_ok=True)
        (journal / "all.conf").write_text("[Journal]\nStorage=volatile\nRateLimitBurst=0\n")
        # No test needs a login manager, and the network services would have no network.
        for unit in ("systemd-resolved", "systemd-networkd", "systemd-timesyncd", "systemd-logind"):
            link = etc / "systemd/system" / f"{unit}.service"
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                link.symlink_to("/dev/null")

    def boot(self) -> None:
        """Start its systemd and wait until startup has finished."""
        command = [
            "systemd-nspawn", "-q", "-D", str(self.root), "-b", "--console=pipe", "--register=no",
            "--keep-unit", "--private-network", f"--machine={self._name}",
        ]  # fmt: skip
        with self.console.open("wb") as console:
            self._booted = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                preexec_fn=_into_own_cgroup,
            )
        deadline = time.monotonic() + BOOT_WITHIN_S
        while time.monotonic() < deadline:
            if self._booted.poll() is not None:
                break
            self._init = self._init or _child_of(self._booted.pid)
            if self._init:
                state = self.run("systemctl", "is-system-running").stdout.strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(0.5)
        raise CannotBoot(
            f"systemd did not come up: {self.console.read_text('utf-8', 'replace')[-500:]}"
        )

    def run_before_boot(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in its file system, with the host's network."""
        return subprocess.run(
            ["systemd-nspawn", "-q", "-D", str(self.root), "--register=no", "--keep-unit", "--pipe",
             "--resolv-conf=off", f"--machine={self._name}", *(f"-E{name}={value}" for name, value in os.environ.items()
                                    if name.startswith("PIP_")), *command],
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}, timeout=600, check=False,
        )  # fmt: skip

    def run(
        self, *command: str, timeout_s: float = 60.0, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it and return the result."""
        return subprocess.run(
            self.entered(*command), input=text, capture_output=True, encoding="utf-8",
            errors="replace", timeout=timeout_s, check=False,
        )  # fmt: skip

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in it."""
        return subprocess.Popen(
            self.entered(*command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        )  # fmt: skip

    def entered(self, *command: str) -> Sequence[str]:
        """Return the host command that runs `command` in it."""
        environ = [
            "env",
            "-i",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8",
        ]
        return ["nsenter", "-t", str(self._init), "-a", *environ, *command]

    def stop(self) -> None:
        """Power it off and delete its files."""
        if self._booted is not None and self._booted.poll() is None:
            if self._init:
                self.run("systemctl", "--no-block", "poweroff")
            try:
                self._booted.wait(20)
            except subprocess.TimeoutExpired:
                self._booted.kill()
                self._booted.wait(20)
        if self._mounted:
            for path in (self.root, self._base):
                subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)
        shutil.rmtree(self._base, ignore_errors=True)
        self.console.unlink(missing_ok=True)


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if result.returncode:
        raise CannotBoot(f"{command[0]}: {result.stderr.strip()}")


def _into_own_cgroup() -> None:
    """Move this process out of its shared cgroup, since systemd needs one of its own."""
    for mount in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if Path(mount, "cgroup.procs").exists():
            own = Path(mount, f"wxgptd-tests-{os.getpid()}")
            own.mkdir(exist_ok=True)
            Path(own, "cgroup.procs").write_text(str(os.getpid()))
            return


def _child_of(pid: int) -> int:
    pgrep = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, encoding="utf-8", check=False
    )
    children = pgrep.stdout.split()
    return int(children[0]) if children else 0
