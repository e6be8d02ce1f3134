"""Health checks, and what the daemon reports to systemd."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tests.support.model_server import answer_at
from tests.support.story import Story
from wxgptd.ports.record import StoreFigures
from wxgptd.process.supervision import Supervision
from wxgptd.service.operations.health import STUCK_AFTER_S, Health


class Store:
    def __init__(self) -> None:
        self.now = StoreFigures()
        self.is_full = False

    def figures(self) -> StoreFigures:
        return self.now

    def full(self) -> bool:
        return self.is_full


class Threads:
    def __init__(self) -> None:
        self.stuck: Deferred[None] | None = None
        self.answers = True

    def __call__(self, work):
        if self.answers:
            return succeed(work())
        self.stuck = Deferred()
        return self.stuck


@pytest.fixture
def watched():
    store, threads, clock = Store(), Threads(), Clock()
    health = Health(store, threads, clock)
    health.begin()
    return health, store, threads, clock


def elapse(clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds)):
        clock.advance(1.0)


def test_a_log_that_makes_progress_is_healthy(watched):
    health, store, _, clock = watched
    for commits in range(100):
        store.now = StoreFigures(commits=commits, pending=3)
        elapse(clock, 5)
        assert health.unhealthy_reason == ""


def test_an_idle_log_is_healthy(watched):
    health, _, _, clock = watched
    elapse(clock, 10 * STUCK_AFTER_S)
    assert health.unhealthy_reason == ""


def test_a_stuck_commit_is_unhealthy_until_it_finishes(watched, logged):
    health, store, _, clock = watched
    store.now = StoreFigures(commits=7, pending=1)
    elapse(clock, STUCK_AFTER_S - 5)
    assert health.unhealthy_reason == ""
    elapse(clock, 15)
    assert "no commit to the log" in health.unhealthy_reason
    store.now = StoreFigures(commits=8)
    elapse(clock, 5)
    assert health.unhealthy_reason == ""
    assert any("health check passed again" in line for line in logged())


def test_a_full_disk_does_not_make_the_daemon_unhealthy(watched):
    health, store, _, clock = watched
    store.now, store.is_full = StoreFigures(commits=7, pending=1), True
    elapse(clock, 10 * STUCK_AFTER_S)
    assert health.unhealthy_reason == ""


def test_the_daemon_is_unhealthy_if_the_thread_pool_does_not_respond(watched):
    health, _, threads, clock = watched
    threads.answers = False
    elapse(clock, STUCK_AFTER_S + 15)
    assert "no thread has responded" in health.unhealthy_reason
    threads.answers = True
    threads.stuck.callback(None)
    elapse(clock, 6)
    assert health.unhealthy_reason == ""


def test_the_daemon_is_unhealthy_if_a_health_check_crashes(watched):
    health, store, _, clock = watched
    store.figures = lambda: 1 / 0
    elapse(clock, 6)
    assert "the check itself failed" in health.unhealthy_reason
    store.figures = StoreFigures
    elapse(clock, 6)
    assert health.unhealthy_reason == ""


def test_the_daemon_is_unhealthy_if_health_checks_stop(watched):
    health, _, _, clock = watched
    elapse(clock, 6)
    health._loop.stop()
    clock.advance(STUCK_AFTER_S + 5)
    assert "no health check for more than 30 s" in health.unhealthy_reason


def test_healthz_reports_an_unhealthy_daemon():
    story = Story(answer_at(1, "好的。"))
    assert story.get("/healthz").body == "ok\n"
    story.store.stalled = True
    story.send("/chatgpt")
    story.advance(STUCK_AFTER_S + 15, step=1.0)
    unhealthy = story.get("/healthz")
    assert (unhealthy.code, unhealthy.body) == (503, "unhealthy\n")
    assert story.get("/readyz").code == 503


# systemd.


@pytest.fixture
def manager(tmp_path):
    """A service manager's socket, and a function that returns its new notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)

        def notifications() -> list[str]:
            received = []
            while True:
                try:
                    received.append(listening.recv(4_096).decode())
                except BlockingIOError:
                    return received

        yield str(tmp_path / "notify"), notifications


def supervised(address: str, clock: Clock, why: list[str], **environ: str) -> Supervision:
    return Supervision(
        {"NOTIFY_SOCKET": address, **environ}, clock, unhealthy_reason=lambda: why[0], summary=lambda: "3 sessions"
    )  # fmt: skip


def test_the_watchdog_is_fed_only_while_the_daemon_is_healthy(manager):
    address, notifications = manager
    clock, why = Clock(), [""]
    supervision = supervised(address, clock, why, WATCHDOG_USEC="6000000")
    supervision.starting()
    supervision.ready()
    notifications()
    clock.advance(2.0)
    assert notifications() == ["WATCHDOG=1\nSTATUS=3 sessions"]
    why[0] = "no commit to the log for 31 s"
    clock.advance(2.0)
    assert notifications() == ["STATUS=health check failed: no commit to the log for 31 s"]


def test_startup_extends_its_timeout_while_the_log_is_read(manager):
    address, notifications = manager
    clock = Clock()
    supervision = supervised(address, clock, [""])
    supervision.starting()
    clock.advance(5.0)
    assert all("EXTEND_TIMEOUT_USEC=60000000" in notification for notification in notifications())
    supervision.ready()
    assert notifications()[0] == "READY=1"
    supervision.stopping()
    assert "STOPPING=1" in notifications()[-1]
    clock.advance(60.0)
    assert notifications() == []


def test_another_process_s_watchdog_is_not_fed(manager):
    address, notifications = manager
    clock = Clock()
    supervision = supervised(address, clock, [""], WATCHDOG_USEC="6000000", WATCHDOG_PID="1")
    supervision.starting()
    supervision.ready()
    clock.advance(5.0)
    assert not any("WATCHDOG=1" in notification for notification in notifications())


def test_supervision_does_nothing_without_a_service_manager():
    clock = Clock()
    supervision = Supervision({}, clock, unhealthy_reason=str, summary=str)
    supervision.starting()
    supervision.ready()
    supervision.stopping()
    assert clock.getDelayedCalls() == []


def test_a_missing_service_manager_is_ignored(tmp_path):
    supervision = supervised(str(tmp_path / "nowhere"), Clock(), [""])
    supervision.ready()


def test_notifications_survive_running_out_of_file_descriptors(manager, tmp_path):
    import resource

    address, notifications = manager
    clock = Clock()
    supervision = supervised(address, clock, [""], WATCHDOG_USEC="6000000")
    supervision.starting()
    supervision.ready()
    notifications()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        clock.advance(2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    clock.advance(2.0)
    assert any("WATCHDOG=1" in notification for notification in notifications())


@pytest.mark.parametrize("interval", ["0", "-1", "9" * 400, "soon", ""])
def test_an_invalid_watchdog_interval_is_ignored(interval, manager):
    address, notifications = manager
    clock = Clock()
    supervision = supervised(address, clock, [""], WATCHDOG_USEC=interval)
    supervision.starting()
    supervision.ready()
    clock.advance(30.0)
    assert notifications()
    assert not any("WATCHDOG=1" in notification for notification in notifications())
