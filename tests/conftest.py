"""Which tests run beside which, and what all of them share.

pytest-xdist runs the tests in several processes. Three marks say what a test needs:

- `processes`: it starts real processes. A test without this mark must not, so that `make check`
  can leave out everything slow; an audit hook enforces it.
- `xdist_group(NAME)`: it shares something expensive (a browser, a systemd) with the tests of the
  same name. They run in one process, one after the other.
- `alone`: its result depends on how long something takes, so nothing else may run meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import LogEvent, eventAsText, globalLogPublisher

from tests.support.wheel import wheel, wheel_environment

__all__ = ["logged", "wheel", "wheel_environment"]

TESTS = Path(__file__).parent
STARTS_A_PROCESS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}

FIRST = ("injuries", "browser", "systemd")
"""Folders whose tests start first: their groups and statistics take longest."""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ProcessGuard(), "process-guard")
    if run := getattr(config, "workerinput", {}).get("testrunuid"):
        config.pluginmanager.register(MachineLock(run), "machine-lock")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))
    items.sort(key=_turn)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run if pytest-xdist has not understood the groups: it would ignore them silently."""
    if getattr(session.config.option, "loadgroup", False):
        for item in session.items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
                raise pytest.UsageError(
                    f"pytest-xdist cannot group tests with pytest {pytest.__version__}; "
                    "install the version that pyproject.toml asks for"
                )


def _turn(item: pytest.Item) -> int:
    """Return when a test's turn comes: the long ones early, so that no process is left with one."""
    folder = item.path.relative_to(TESTS).parts[0]
    if item.get_closest_marker("alone"):
        return 9
    if folder in FIRST:
        return FIRST.index(folder)
    if item.get_closest_marker("xdist_group"):
        return len(FIRST)
    return 7 if item.get_closest_marker("processes") else 8


class ProcessGuard:
    """Fails a test that starts a process and does not say so.

    What `multiprocessing` spawns, Python does not report to audit hooks.
    """

    def __init__(self) -> None:
        self._item: pytest.Item | None = None
        self._caught = ""
        sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[object, ...]) -> None:
        item = self._item
        if item is None or event not in STARTS_A_PROCESS:
            return
        if item.get_closest_marker("processes") is None:
            self._caught = f"{item.nodeid} starts a process: add @pytest.mark.processes"
            raise RuntimeError(self._caught)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._item, self._caught = item, ""
        try:
            return (yield)
        finally:
            self._item = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        try:
            return (yield)
        finally:
            if self._caught:  # what is tested may have swallowed the error
                pytest.fail(self._caught, pytrace=False)


class MachineLock:
    """Keeps all other workers waiting while a test marked `alone` runs.

    One file for the whole run: `alone` locks it exclusively, everything else shares it.
    """

    def __init__(self, run: str) -> None:
        self._path = Path(tempfile.gettempdir(), f"wxgptd-tests-{run}.lock")
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        alone = item.get_closest_marker("alone")
        fcntl.flock(self._file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def pytest_unconfigure(self) -> None:
        os.close(self._file)
        self._path.unlink(missing_ok=True)


@pytest.fixture(autouse=True, scope="session")
def _default_signals() -> None:
    """Undo what `nohup` and a shell's `&` leave ignored: our child processes would inherit it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def logged():
    """Return what our own loggers said, line by line."""
    events: list[LogEvent] = []

    def keep(event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("wxgptd"):
            events.append(event)

    globalLogPublisher.addObserver(keep)
    yield lambda: [eventAsText(event, includeTimestamp=False) for event in events]
    globalLogPublisher.removeObserver(keep)
