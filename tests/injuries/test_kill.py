"""Repeated kill -9 at random times: nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import threading
import time
import urllib.request

import pytest
from twisted.internet.task import Clock

from tests.support.processes import TOKEN, Stage
from tests.support.surviving import TORTURE, lost, running
from wxgpt.wechat import messages, peer
from wxgptd.domain.model import events as e
from wxgptd.eventlog import master_key, reader, segments
from wxgptd.eventlog.keyring import Keyring

WRITER_CYCLES = 2_000 if TORTURE else 50
DAEMON_CYCLES = 300 if TORTURE else 10

pytestmark = pytest.mark.processes


def test_a_killed_writer_loses_nothing(tmp_path, report):
    chance = random.Random(20_261_125)
    acknowledged, erased = 0, set()
    for _ in range(WRITER_CYCLES):
        with running(tmp_path / "state") as run:
            run.wait_for("ack")
            time.sleep(chance.uniform(0.0, 0.08))
            run.kill()
            acknowledged, erased = max(acknowledged, run.acknowledged), erased | run.erased
            assert not [line for line in run.lines if line.startswith("refused")], run.lines[-1]
        assert not (loss := lost(tmp_path / "state", acknowledged, erased)), loss
    report(f"R1 writer: {WRITER_CYCLES} kills, {acknowledged} events acknowledged, 0 lost")


def test_the_harness_catches_early_acknowledgements(tmp_path, report):
    """Check the harness itself: it must detect a writer that acknowledges too early."""
    chance = random.Random(1)
    caught, tries = 0, 10
    for number in range(tries):
        state_dir = tmp_path / f"state-{number}"
        for _ in range(10):
            with running(state_dir, "--mutant", "early") as run:
                run.wait_for("ack")
                time.sleep(chance.uniform(0.0, 0.03))
                run.kill()
                acknowledged = run.acknowledged
            if lost(state_dir, acknowledged):
                caught += 1
                break
    report(
        f"R1 mutant: acknowledging early is caught in {caught} of {tries} runs of 10 kills at most"
    )
    assert caught >= 9


class Users:
    """Concurrent users of the daemon; `replied` holds the ids of the messages that got a reply."""

    def __init__(self, stage: Stage) -> None:
        webhook = peer.Webhook(url=f"http://127.0.0.1:{stage.port}/wx/main", token=TOKEN)
        self._wechat = peer.Peer(webhook, http=None, clock=Clock(), wall=time.time)
        self._running = False
        self._threads: list[threading.Thread] = []
        self._started = threading.Semaphore(0)
        self.replied: set[str] = set()

    def begin(self) -> None:
        self._running = True
        self._threads = [threading.Thread(target=self._talk, args=(n,)) for n in range(4)]
        for thread in self._threads:
            thread.start()
            # Coverage traces every thread, and CPython cannot start tracing two at once.
            self._started.acquire()

    def end(self) -> None:
        self._running = False
        for thread in self._threads:
            thread.join()

    def _talk(self, number: int) -> None:
        self._started.release()
        while self._running:
            fields = messages.text_message("/help")
            url, body = self._wechat.request(f"user{number}", fields)
            try:
                request = urllib.request.Request(url, body, {"Content-Type": "text/xml"})
                with urllib.request.urlopen(request, timeout=5) as response:
                    if response.read():
                        self.replied.add(fields["MsgId"])
            except OSError:
                return


def test_a_killed_daemon_has_recorded_every_reply_it_sent(tmp_path, report):
    chance = random.Random(7)
    stage = Stage(tmp_path)
    stage.configure_log('segment_size = "16KiB"\nsnapshot_every = 300')
    users = Users(stage)
    try:
        for _ in range(DAEMON_CYCLES):
            stage.start_daemon()
            users.begin()
            time.sleep(chance.uniform(0.02, 0.4))
            stage.kill()
            users.end()
        stage.start_daemon()
        assert stage.stop() == 0
    finally:
        users.end()
        stage.end()
    keys = Keyring(segments.keyring_path(stage.state), master_key.own_master(stage.state))
    offered = {
        record.event.delivery
        for record in reader.scan(segments.log_directory(stage.state), keys)
        if isinstance(record.event, e.ReplyOffered)
    }
    assert users.replied
    assert users.replied <= offered
    report(f"R1 daemon: {DAEMON_CYCLES} kills, {len(users.replied)} replies given, 0 not on record")
