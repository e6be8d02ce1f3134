"""The units as they are shipped, under a real systemd."""

from __future__ import annotations

import re
import time

import pytest

from tests.systemd.conftest import CONFIG

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("systemd")]


def reply_of(asking, within_s: float = 40.0) -> str:
    said, _ = asking.communicate(timeout=within_s)
    assert asking.returncode == 0, said
    return said


def test_started_means_ready(running):
    ready = running.machine.run("curl", "-s", "http://127.0.0.1:9005/readyz")
    assert ready.stdout == "ok\n"
    assert running.show("ActiveState") == "active"
    assert "open sessions: 0" in running.show("StatusText")


def test_a_question_goes_to_a_model_over_https(running):
    """Which a sandbox that forbids memory to be written and executed would break."""
    reply_of(running.ask("/chatgpt"))
    assert "我是演示模型" in reply_of(running.ask("你好"))


def test_the_configuration_and_its_secrets_are_roots_alone(running):
    owner = running.machine.run("stat", "-c", "%U %a", "/etc/wxgptd/wxgptd.toml").stdout
    assert owner == "root 600\n"
    uid = running.machine.run("stat", "-c", "%u", f"/proc/{running.pid}").stdout.strip()
    assert int(uid) >= 61_184, "a user that systemd has made up for it"
    environ = running.machine.run("cat", f"/proc/{running.pid}/environ").stdout
    assert "canary" not in environ + running.journal()


def test_another_credential_is_one_line_in_the_unit(unit):
    (unit.machine.root / "srv/key").write_text("sk-canary-key\n")
    unit.override("[Service]\nLoadCredential=model-key:/srv/key\n")
    unit.configure(CONFIG.replace('"sk-canary-key"', '"credential:model-key"'))
    assert unit.systemctl("start", "wxgptd").returncode == 0, unit.journal()
    reply_of(unit.ask("/chatgpt"))
    assert "我是演示模型" in reply_of(unit.ask("你好"))


def test_the_answer_to_a_question_arrives_although_the_daemon_was_killed(running):
    reply_of(running.ask("/chatgpt"))
    asking = running.ask("8 秒的问题")
    time.sleep(3)
    killed = running.pid
    running.machine.run("kill", "-9", str(killed))
    assert "我是演示模型" in reply_of(asking)
    assert running.pid != killed
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


def test_no_message_of_a_stream_is_refused_by_a_restart(running):
    (running.machine.root / "srv/poster.py").write_text(POSTER)
    posting = running.machine.start("/usr/bin/python3", "/srv/poster.py", "8")
    time.sleep(1)
    for _ in range(2):
        assert running.systemctl("restart", "wxgptd").returncode == 0
        time.sleep(1)
    said, _ = posting.communicate(timeout=30)
    asked, answered = map(int, re.findall(r"\d+", said.splitlines()[-1]))
    assert answered == asked > 100, said


def test_a_reload_takes_up_a_changed_configuration(running):
    before = running.pid
    running.configure(extra='[texts]\nno_session = "没有对话呀"\n')
    done = running.systemctl("reload", "wxgptd")
    assert done.returncode == 0, running.journal()
    assert "没有对话呀" in reply_of(running.ask("/stop"))
    assert running.pid == before
    assert "reloaded: texts.no_session" in running.journal()


def test_the_process_s_own_metrics_are_there_in_the_sandbox(running):
    said = running.machine.run(
        "curl", "-s", "--unix-socket", "/var/lib/wxgptd/admin.sock", "http://wxgptd/metrics"
    ).stdout
    for name in ("process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds"):
        assert f"\n{name} " in said


def test_a_hangup_does_not_bring_back_what_was_configured_at_the_start(running):
    running.configure(extra='[texts]\nno_session = "没有对话呀"\n')
    assert running.systemctl("reload", "wxgptd").returncode == 0, running.journal()
    running.machine.run("kill", "-HUP", str(running.pid))
    time.sleep(1)
    assert "没有对话呀" in reply_of(running.ask("/stop"))
    assert "systemctl reload" in running.journal()


def test_a_reload_of_a_wrong_configuration_fails_and_changes_nothing(running):
    running.configure(extra='[session]\nttl = "soon"\n')
    assert running.systemctl("reload", "wxgptd").returncode != 0
    assert "session.ttl: must be a time" in running.journal()
    assert running.show("ActiveState") == "active"
    running.configure()
    assert "我是 AI 助手" in reply_of(running.ask("/chatgpt"))


def test_what_is_said_has_its_priority_in_the_journal_and_no_time_of_its_own(running):
    running.machine.run(
        "curl", "-s", "http://127.0.0.1:9005/wx/main?signature=x&timestamp=1&nonce=1"
    )
    said = {one["MESSAGE"]: one["PRIORITY"] for one in running.entries() if "_COMM" in one}
    (refused,) = [text for text in said if text.startswith("main: refused a request")]
    assert said[refused] == "4"
    assert said["ready, listening on 127.0.0.1:9005"] == "6"


def test_a_wrong_configuration_is_not_started_again_and_again(unit):
    unit.configure(extra='[session]\nttl = "soon"\n')
    assert unit.systemctl("start", "wxgptd").returncode != 0
    time.sleep(2.5)
    assert unit.show("ExecMainStatus") == "4"
    (why,) = [one for one in unit.entries() if "session.ttl" in one["MESSAGE"]]
    assert why["PRIORITY"] == "3", "where people are sent to look"
    assert unit.show("ActiveState") == "failed"
    assert unit.show("NRestarts") == "0"


def test_a_log_that_cannot_be_written_any_more_is_recovered_by_a_restart(unit):
    unit.override("[Service]\nLimitFSIZE=2000\n")
    assert unit.systemctl("start", "wxgptd").returncode == 0
    for _ in range(20):
        if unit.show("NRestarts") != "0":
            break
        unit.ask("/help").communicate(timeout=40)
    assert "status=75" in unit.journal()
    unit.override("")
    unit.wait_for("ActiveState", "active")


def test_a_daemon_that_does_nothing_any_more_is_killed_by_the_watchdog(unit):
    unit.override("[Service]\nWatchdogSec=3\n")
    unit.systemctl("start", "wxgptd")
    before = unit.pid
    assert before, unit.journal()  # 0 would stop this process and its family
    time.sleep(4)
    assert unit.pid == before, "fed"
    unit.machine.run("kill", "-STOP", str(before))
    deadline = time.monotonic() + 20
    while unit.pid in (0, before):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "Watchdog timeout" in unit.journal()
    unit.wait_for("ActiveState", "active")


def test_the_sandbox_is_tight(unit):
    verified = unit.machine.run(
        "systemd-analyze", "verify", "--man=no",
        "/etc/systemd/system/wxgptd.service", "/etc/systemd/system/wxgptd.socket",
    )  # fmt: skip
    assert verified.stdout + verified.stderr == ""
    exposed = unit.machine.run("systemd-analyze", "security", "--offline=true", "--threshold=15",
                               "/etc/systemd/system/wxgptd.service")  # fmt: skip
    assert exposed.returncode == 0, exposed.stdout


def test_the_operators_commands_work_beside_it(running):
    reply_of(running.ask("/chatgpt"))
    assert running.wxgpt("status").returncode == 0
    assert "opened" in running.wxgpt("tail").stdout
    assert running.wxgpt("log", "verify").returncode == 0


def test_from_nothing_to_an_answer_by_what_init_says(unit):
    """What the README has an operator type, but for the web server and WeChat itself."""
    machine = unit.machine
    machine.run(
        "rm",
        "-r",
        "/etc/wxgptd",
        *(f"/etc/systemd/system/wxgptd.{kind}" for kind in ("service", "socket")),
    )
    machine.run("tee", "/srv/key", text="sk-canary-key\n")
    done = unit.wxgpt(
        "init", *["--provider", "other", "--base-url", "https://model.test:9443/v1", "--model", "demo", "--api-key-file", "/srv/key", "--domain", "chat.example.org", "--app-id", "wx0123456789", "--web", "none"]
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    unit.systemctl("daemon-reload")
    started = unit.systemctl("enable", "--now", "wxgptd.socket", "wxgptd.service")
    assert started.returncode == 0, unit.journal()
    reply_of(unit.ask("/chatgpt"))
    assert "我是演示模型" in reply_of(unit.ask("你好"))
    looked = unit.wxgpt("doctor")
    for line in ("✔ configuration", "✔ permissions", "✔ state directory", "✔ unit", "✔ daemon",
                 "✔ log", "✔ port", "✔ assistant chatgpt"):  # fmt: skip
        assert line in looked.stdout, looked.stdout
    assert "✘ public address" in looked.stdout, "there is no network in here"


def test_root_may_put_the_state_in_order_and_the_daemon_can_use_it(running):
    reply_of(running.ask("/chatgpt"))
    assert running.wxgpt("backup", "/srv/backup.tar.gz").returncode == 0
    running.systemctl("stop", "wxgptd.socket", "wxgptd.service")
    running.systemctl("clean", "--what=state", "wxgptd.service")
    restored = running.wxgpt("restore", "/srv/backup.tar.gz")
    assert restored.returncode == 0, restored.stderr
    assert running.systemctl("start", "wxgptd.service").returncode == 0, running.journal()
    assert "已经开着" in reply_of(running.ask("/chatgpt"))
