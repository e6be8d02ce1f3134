"""Which tests run in parallel, and what all of them share.

pytest-xdist runs the tests in several processes. Three markers declare what a test needs:

- `processes`: it starts real processes. An audit hook fails a test that does so without this
  marker,
  so `make check` can leave out everything slow.
- `xdist_group(NAME)`: it shares something expensive (a browser, a systemd) with the other tests of
  that name. They run in one process, one after the other.
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
from hypothesis import settings
from twisted.logger import LogEvent, eventAsText, globalLogPublisher

from tests.support.wheel import wheel, wheel_environment

__all__ = ["logged", "wheel", "wheel_environment"]

settings.register_profile("wxgptd", deadline=None)  # how long an example takes is not tested
settings.load_profile("wxgptd")

os.environ["WXGPT_LANG"] = "en"  # whatever the machine speaks

TESTS = Path(__file__).parent
STARTS_A_PROCESS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}

FIRST = ("injuries", "cluster", "browser", "systemd")
"""Folders whose tests start first, because they take longest."""


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
    """Fail if pytest-xdist did not recognise the groups: it would ignore them silently."""
    if getattr(session.config.option, "loadgroup", False):
        for item in session.items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
                raise pytest.UsageError(
                    f"pytest-xdist cannot group tests with pytest {pytest.__version__}; "
                    "install the version that pyproject.toml asks for"
                )


def _turn(item: pytest.Item) -> int:
    """Return a test's place in the order: long tests first, so that none is left at the end."""
    folder = item.path.relative_to(TESTS).parts[0]
    if item.get_closest_marker("alone"):
        return 9
    if folder in FIRST:
        return FIRST.index(folder)
    if item.get_closest_marker("xdist_group"):
        return len(FIRST)
    return 7 if item.get_closest_marker("processes") else 8


class ProcessGuard:
    """Fails a test that starts a process without the `processes` marker.

    Python does not report processes spawned by `multiprocessing` to audit hooks.
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
            if self._caught:  # the code under test may have swallowed the error
                pytest.fail(self._caught, pytrace=False)


class MachineLock:
    """Keeps all other workers waiting while a test marked `alone` runs.

    All workers lock one file: a test marked `alone` takes an exclusive lock, every other test a
    shared one.
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
    """Restore signals that `nohup` and a shell's `&` ignore: child processes would inherit that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _measures_time_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the processes of a timed test without coverage, which makes them slower by half."""
    if request.node.get_closest_marker("alone"):
        for name in [name for name in os.environ if name.startswith("COVERAGE")]:
            monkeypatch.delenv(name)


@pytest.fixture
def logged():
    """Return a function that lists the lines logged by wxgptd so far."""
    events: list[LogEvent] = []

    def keep(event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("wxgptd"):
            events.append(event)

    globalLogPublisher.addObserver(keep)
    yield lambda: [eventAsText(event, includeTimestamp=False) for event in events]
    globalLogPublisher.removeObserver(keep)
