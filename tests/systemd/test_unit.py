"""The shipped units, under a real systemd."""

from __future__ import annotations

import re
import time

import pytest

from tests.systemd.conftest import CONFIG

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("systemd")]


def reply_of(asking, within_s: float = 40.0) -> str:
    output, _ = asking.communicate(timeout=within_s)
    assert asking.returncode == 0, output
    return output


def test_a_started_unit_is_ready(running):
    ready = running.machine.run("curl", "-s", "http://127.0.0.1:9005/readyz")
    assert ready.stdout == "ok\n"
    assert running.show("ActiveState") == "active"
    assert "open sessions: 0" in running.show("StatusText")


def test_a_question_reaches_a_model_over_https(running):
    """A sandbox that forbids memory that is both writable and executable would break this."""
    reply_of(running.ask("/chatgpt"))
    assert "我是演示模型" in reply_of(running.ask("你好"))


def test_only_root_can_read_the_configuration_and_its_secrets(running):
    owner = running.machine.run("stat", "-c", "%U %a", "/etc/wxgptd/wxgptd.toml").stdout
    assert owner == "root 600\n"
    uid = running.machine.run("stat", "-c", "%u", f"/proc/{running.pid}").stdout.strip()
    assert int(uid) >= 61_184, "not a dynamic user of systemd"
    environ = running.machine.run("cat", f"/proc/{running.pid}/environ").stdout
    assert "canary" not in environ + running.journal()


def test_a_credential_needs_only_one_line_in_the_unit(unit):
    (unit.machine.root / "srv/key").write_text("sk-canary-key\n")
    unit.override("[Service]\nLoadCredential=model-key:/srv/key\n")
    unit.configure(CONFIG.replace('"sk-canary-key"', '"credential:model-key"'))
    assert unit.systemctl("start", "wxgptd").returncode == 0, unit.journal()
    reply_of(unit.ask("/chatgpt"))
    assert "我是演示模型" in reply_of(unit.ask("你好"))


def test_an_answer_arrives_even_if_the_daemon_is_killed(running):
    reply_of(running.ask("/chatgpt"))
    asking = running.ask("8 秒的问题")
    time.sleep(3)
    before = running.pid
    running.machine.run("kill", "-9", str(before))
    assert "我是演示模型" in reply_of(asking)
    assert running.pid != before
    assert running.show("NRestarts") == "1"


POSTER = """
import hashlib, http.client, json, sys, time
asked = refused = 0
answered, until = 0, time.monotonic() + float(sys.argv[1])
body = ("<xml><ToUserName>gh_1</ToUserName><FromUserName>oPoster</FromUserName><CreateTime>1</CreateTime>"
        "<MsgType>text</MsgType><Content>hello</Content><MsgId>%d</MsgId></xml>")
while time.monotonic() < until:
    asked += 1
    stamp, nonce = str(int(time.time())), str(asked)
    signed = hashlib.sha1("".join(sorted(("canarytoken", stamp, nonce))).encode()).hexdigest()
    path = f"/wx/main?signature={signed}&timestamp={stamp}&nonce={nonce}&openid=oPoster"
    connection = http.client.HTTPConnection("127.0.0.1", 9005, timeout=5)
    try:
        connection.request("POST", path, body % asked, {"Content-Type": "text/xml"})
        answered += connection.getresponse().read() == b"success"
    except OSError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        connection.close()
print(json.dumps([asked, answered]))
"""


def test_a_restart_rejects_no_messages(running):
    (running.machine.root / "srv/poster.py").write_text(POSTER)
    posting = running.machine.start("/usr/bin/python3", "/srv/poster.py", "8")
    time.sleep(1)
    for _ in range(2):
        assert running.systemctl("restart", "wxgptd").returncode == 0
        time.sleep(1)
    output, _ = posting.communicate(timeout=30)
    asked, answered = map(int, re.findall(r"\d+", output.splitlines()[-1]))
    assert answered == asked > 100, output


def test_a_reload_applies_a_changed_configuration(running):
    before = running.pid
    running.configure(extra='[texts]\nno_session = "没有对话呀"\n')
    result = running.systemctl("reload", "wxgptd")
    assert result.returncode == 0, running.journal()
    assert "没有对话呀" in reply_of(running.ask("/stop"))
    assert running.pid == before
    assert "reloaded: texts.no_session" in running.journal()


def test_process_metrics_are_available_in_the_sandbox(running):
    metrics = running.machine.run(
        "curl", "-s", "--unix-socket", "/var/lib/wxgptd/admin.sock", "http://wxgptd/metrics"
    ).stdout
    for name in ("process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds"):
        assert f"\n{name} " in metrics


def test_sighup_does_not_restore_the_startup_configuration(running):
    running.configure(extra='[texts]\nno_session = "没有对话呀"\n')
    assert running.systemctl("reload", "wxgptd").returncode == 0, running.journal()
    running.machine.run("kill", "-HUP", str(running.pid))
    time.sleep(1)
    assert "没有对话呀" in reply_of(running.ask("/stop"))
    assert "systemctl reload" in running.journal()


def test_a_reload_of_an_invalid_configuration_fails_and_changes_nothing(running):
    running.configure(extra='[session]\nttl = "soon"\n')
    assert running.systemctl("reload", "wxgptd").returncode != 0
    assert "session.ttl: must be a time" in running.journal()
    assert running.show("ActiveState") == "active"
    running.configure()
    assert "我是 AI 助手" in reply_of(running.ask("/chatgpt"))


def test_journal_entries_have_a_priority_and_no_timestamp(running):
    running.machine.run(
        "curl", "-s", "http://127.0.0.1:9005/wx/main?signature=x&timestamp=1&nonce=1"
    )
    priorities = {
        entry["MESSAGE"]: entry["PRIORITY"] for entry in running.entries() if "_COMM" in entry
    }
    (rejected,) = [text for text in priorities if text.startswith("main: rejected a request")]
    assert priorities[rejected] == "4"
    assert priorities["ready, listening on 127.0.0.1:9005 [ready]"] == "6"


def test_an_invalid_configuration_causes_no_restart_loop(unit):
    unit.configure(extra='[session]\nttl = "soon"\n')
    assert unit.systemctl("start", "wxgptd").returncode != 0
    time.sleep(2.5)
    assert unit.show("ExecMainStatus") == "4"
    (error,) = [entry for entry in unit.entries() if "session.ttl" in entry["MESSAGE"]]
    assert error["PRIORITY"] == "3", "operators are told to look for errors"
    assert unit.show("ActiveState") == "failed"
    assert unit.show("NRestarts") == "0"


def test_a_restart_recovers_a_log_that_became_unwritable(unit):
    unit.override("[Service]\nLimitFSIZE=2000\n")
    assert unit.systemctl("start", "wxgptd").returncode == 0
    for _ in range(20):
        if unit.show("NRestarts") != "0":
            break
        unit.ask("/help").communicate(timeout=40)
    assert "status=75" in unit.journal()
    unit.override("")
    unit.wait_for("ActiveState", "active")


def test_the_watchdog_kills_a_hung_daemon(unit):
    unit.override("[Service]\nWatchdogSec=3\n")
    unit.systemctl("start", "wxgptd")
    before = unit.pid
    assert before, unit.journal()  # 0 would stop our own process group
    time.sleep(4)
    assert unit.pid == before, "the watchdog was not fed"
    unit.machine.run("kill", "-STOP", str(before))
    deadline = time.monotonic() + 20
    while unit.pid in (0, before):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "Watchdog timeout" in unit.journal()
    unit.wait_for("ActiveState", "active")


def test_the_units_pass_systemd_analyze(unit):
    verified = unit.machine.run(
        "systemd-analyze", "verify", "--man=no",
        "/etc/systemd/system/wxgptd.service", "/etc/systemd/system/wxgptd.socket",
    )  # fmt: skip
    assert verified.stdout + verified.stderr == ""
    exposed = unit.machine.run("systemd-analyze", "security", "--offline=true", "--threshold=15",
                               "/etc/systemd/system/wxgptd.service")  # fmt: skip
    assert exposed.returncode == 0, exposed.stdout


def test_wxgpt_commands_work_while_the_unit_runs(running):
    reply_of(running.ask("/chatgpt"))
    assert running.wxgpt("status").returncode == 0
    assert "opened" in running.wxgpt("tail").stdout
    assert running.wxgpt("log", "verify").returncode == 0


def test_init_takes_a_bare_machine_to_its_first_answer(unit):
    """The commands in the README, except those for the web server and WeChat itself."""
    machine = unit.machine
    machine.run(
        "rm",
        "-r",
        "/etc/wxgptd",
        *(f"/etc/systemd/system/wxgptd.{kind}" for kind in ("service", "socket")),
    )
    machine.run("tee", "/srv/key", text="sk-canary-key\n")
    result = unit.wxgpt(
        "init", *["--provider", "other", "--base-url", "https://model.test:9443/v1", "--model", "demo", "--api-key-file", "/srv/key", "--domain", "chat.example.org", "--app-id", "wx0123456789", "--web", "none"]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    unit.systemctl("daemon-reload")
    started = unit.systemctl("enable", "--now", "wxgptd.socket", "wxgptd.service")
    assert started.returncode == 0, unit.journal()
    reply_of(unit.ask("/chatgpt"))
    assert "我是演示模型" in reply_of(unit.ask("你好"))
    doctor = unit.wxgpt("doctor")
    for line in ("✔ configuration", "✔ permissions", "✔ state directory", "✔ unit", "✔ daemon",
                 "✔ log", "✔ port", "✔ assistant chatgpt"):  # fmt: skip
        assert line in doctor.stdout, doctor.stdout
    assert "✘ public address" in doctor.stdout, "there is no network in here"


def test_the_daemon_can_use_a_state_directory_restored_by_root(running):
    reply_of(running.ask("/chatgpt"))
    assert running.wxgpt("backup", "/srv/backup.tar.gz").returncode == 0
    running.systemctl("stop", "wxgptd.socket", "wxgptd.service")
    running.systemctl("clean", "--what=state", "wxgptd.service")
    restored = running.wxgpt("restore", "/srv/backup.tar.gz")
    assert restored.returncode == 0, restored.stderr
    assert running.systemctl("start", "wxgptd.service").returncode == 0, running.journal()
    assert "已经在对话中" in reply_of(running.ask("/chatgpt"))
