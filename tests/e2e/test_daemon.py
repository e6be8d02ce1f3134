"""The daemon as a process: crashes, shutdowns, and every error that keeps it from starting."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.support.processes import AES_KEY, API_KEY, TOKEN

pytestmark = pytest.mark.processes


@pytest.mark.alone
def test_an_answer_arrives_after_a_kill_and_a_restart(stage):
    stage.start_model()
    stage.start_daemon()
    stage.send("/chatgpt")
    sending = stage.begin("send", "用 4 秒回答：天为什么是蓝的？", "-o", "json")
    time.sleep(2)
    stage.kill()
    stage.start_daemon()
    output, _ = sending.communicate(timeout=30)
    assert sending.returncode == 0, output
    assert '"timeout"' in output or '"closed"' in output
    assert "天为什么是蓝的" in output
    events = stage.wxgpt("tail", "-o", "ndjson").stdout
    assert events.count("AnswerRestarted") == 1
    assert events.count('"QuestionAsked"') == 1


@pytest.mark.alone
def test_a_stop_seals_the_log_and_the_next_start_calls_the_model_again(stage):
    stage.start_model()
    stage.start_daemon()
    stage.send("/chatgpt")
    sending = stage.begin("send", "用 7 秒回答：停了会怎样？", "-o", "json")
    time.sleep(1.5)
    assert stage.stop() == 0
    assert "sealed" in stage.wxgpt("log", "stat").stdout
    stage.start_daemon()
    output, _ = sending.communicate(timeout=30)
    assert "停了会怎样" in output
    assert stage.stop() == 0
    assert "Traceback" not in stage.said()


@pytest.mark.alone
def test_a_second_sigterm_stops_the_daemon_at_once(stage):
    stage.start_model()
    stage.start_daemon()
    stage.send("/chatgpt")
    sending = stage.begin("send", "用 9 秒回答：急吗？", "-o", "json")
    time.sleep(1)
    stage.daemon.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    began = time.monotonic()
    assert stage.stop() == 0
    assert time.monotonic() - began < 3
    assert "Traceback" not in stage.said()
    sending.terminate()
    sending.communicate()


@pytest.mark.parametrize(
    "logged", [False, True], ids=["logging to the terminal", "logging to a file"]
)
def test_closing_its_terminal_stops_the_daemon(stage, logged):
    import fcntl
    import termios

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "wxgptd", "--config", str(stage.config)]
    with (stage.directory / "daemon.log").open("wb") as file:
        output = file if logged else end
        stage.daemon = subprocess.Popen(
            command, stdin=end, stdout=output, stderr=output, preexec_fn=take_terminal
        )
    os.close(end)
    stage.wait_until_ready()
    os.close(terminal)
    assert stage.daemon.wait(15) == 0


def test_a_hangup_without_a_terminal_reloads_the_moderation_words(stage):
    words = stage.directory / "words.txt"
    words.write_text("旧词\n")
    stage.configure("http://127.0.0.1:9/v1", extra=f'[moderation]\nwords_file = "{words}"\n')
    stage.start_daemon()
    stage.send("/chatgpt")
    assert "无法处理" in stage.send("说说旧词")["reply"]
    words.write_text("新词\n")
    stage.daemon.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while stage.said().count("moderation list loaded") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "无法处理" in stage.send("说说新词")["reply"]
    assert stage.stop() == 0


@pytest.mark.alone
def test_a_page_shows_the_rest_of_a_late_answer(stage):
    stage.start_model()
    stage.start_daemon()
    stage.send("/chatgpt")
    sent = stage.send("用 17 秒写 400 字，介绍自己")
    assert [attempt["result"] for attempt in sent["attempts"]] == ["timeout", "timeout", "reply"]
    assert 14 < sent["took_s"] < 15.2
    link = re.search(r"http://\S+/a/[\w-]+", sent["reply"]).group()
    deadline = time.monotonic() + 20
    while "演示结束" not in (page := stage.get(link)[1]) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert "演示结束" in page
    assert stage.wxgpt("tail", "-o", "ndjson").stdout.count('"AnswerCompleted"') == 1


def test_safe_mode_works_on_real_sockets(stage):
    stage.start_model(account=f'app_id = "wx0123456789abcdef"\naes_key = "{AES_KEY}"')
    stage.start_daemon()
    assert "我是 AI 助手" in stage.send("/chatgpt", "--encrypt")["reply"]
    assert stage.send("/help", "--plain")["fault"]


def test_the_daemon_logs_no_secrets_and_no_user_text(stage):
    stage.start_model(account=f'app_id = "wx0123456789abcdef"\naes_key = "{AES_KEY}"')
    stage.start_daemon()
    for text in ("/chatgpt", "这句话不该出现", "/history", "/stop"):
        stage.send(text, "--user", "oSecretUser")
    stage.get(f"/wx/main?signature={'0' * 40}&timestamp=1&nonce=x&echostr=e")
    stage.stop()
    log = stage.said()
    assert "answered by chatgpt in" in log
    assert "factory" not in log, "Twisted's own messages are suppressed"
    for secret in (TOKEN, API_KEY, AES_KEY, "这句话", "oSecretUser", "signature="):
        assert secret not in log


# Refusing to start.


def refused_start(stage, status: int) -> str:
    stage.start_daemon(ready=False)
    assert stage.daemon.wait(20) == status, stage.said()
    log = stage.said()
    assert "Traceback" not in log
    return log


def test_an_invalid_configuration_is_reported_in_one_line_with_its_key(stage):
    stage.configure("ftp://x")
    log = refused_start(stage, 4)
    assert log.count("\n") == 1
    assert "assistant.chatgpt.base_url" in log
    check = [sys.executable, "-m", "wxgptd", "--check", "--config", str(stage.config)]
    assert subprocess.run(check, capture_output=True, text=True).returncode == 4


@pytest.mark.parametrize("listen", ["tcp:abc", "foo:1", "ssl:18050:privateKey=nope.pem"])
def test_an_invalid_endpoint_is_a_configuration_error(stage, listen):
    text = stage.config.read_text()
    stage.config.write_text(re.sub(r'listen = ".*"', f'listen = "{listen}"', text))
    check = [sys.executable, "-m", "wxgptd", "--check", "--config", str(stage.config)]
    checked = subprocess.run(check, capture_output=True, text=True)
    assert checked.returncode == 4
    assert "server.listen" in checked.stderr
    assert "server.listen" in refused_start(stage, 4)


def test_a_valid_configuration_passes_the_check(stage):
    check = [sys.executable, "-m", "wxgptd", "--check", "--config", str(stage.config)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert not stage.state.exists()


def test_a_port_in_use_is_reported(stage):
    with socket.create_server(("127.0.0.1", stage.port)):
        assert str(stage.port) in refused_start(stage, 1)


def test_an_admin_socket_that_cannot_be_created_is_reported(stage):
    text = stage.config.read_text()
    admin = stage.directory / ("x" * 200)
    stage.config.write_text(text.replace("[account", f'admin = "unix:{admin}"\n[account', 1))
    assert "admin socket" in refused_start(stage, 1)


def test_a_file_at_the_path_of_the_admin_socket_is_left_alone(stage):
    text = stage.config.read_text()
    precious = stage.directory / "precious"
    precious.write_text("keep me")
    stage.config.write_text(text.replace("[account", f'admin = "unix:{precious}"\n[account', 1))
    refused_start(stage, 1)
    assert precious.read_text() == "keep me"


def test_a_second_daemon_on_the_same_state_directory_is_refused(stage, tmp_path_factory):
    from tests.support.processes import Stage

    stage.start_daemon()
    other = Stage(tmp_path_factory.mktemp("other"))
    other.state = stage.state
    other.configure("http://127.0.0.1:9/v1")
    assert f"process {stage.daemon.pid}" in refused_start(other, 1)


def test_a_damaged_log_is_refused_and_left_unchanged(stage):
    stage.start_daemon()
    for text in ("/chatgpt", "/help", "/stop"):
        stage.send(text)
    stage.stop()
    (segment,) = (stage.state / "log").glob("*.wxlog")
    data = bytearray(segment.read_bytes())
    data[80] ^= 1
    segment.write_bytes(data)
    log = refused_start(stage, 5)
    assert segment.name in log
    assert "wxgpt log verify" in log
    assert segment.read_bytes() == data
    verified = stage.wxgpt("log", "verify")
    assert verified.returncode == 5
    assert segment.name in verified.stdout


def test_restarts_without_traffic_do_no_harm(stage):
    for _ in range(3):
        stage.start_daemon()
        assert stage.stop() == 0
    stage.start_daemon()
    assert "我是 AI 助手" in stage.send("/chatgpt")["reply"]


def test_the_daemon_exits_with_75_if_a_write_to_the_log_fails(stage):
    stage.start_daemon(max_file_bytes=2_000)
    for _ in range(20):
        if stage.daemon.poll() is not None:
            break
        stage.send("/help")
    assert stage.daemon.wait(5) == 75
    assert "Traceback" not in stage.said()
    assert "hint:" in stage.said()
    stage.start_daemon()
    assert "command    help" in stage.wxgpt("tail").stdout


def test_the_admin_socket_of_another_daemon_is_left_alone(stage, tmp_path_factory):
    from tests.support.processes import Stage

    stage.start_daemon()
    other = Stage(tmp_path_factory.mktemp("other"))
    text = other.config.read_text()
    taken = stage.state / "admin.sock"
    other.config.write_text(text.replace("[account", f'admin = "unix:{taken}"\n[account', 1))
    assert "another daemon is already listening" in refused_start(other, 1)
    assert stage.wxgpt("status").returncode == 0


def test_a_state_directory_on_a_full_disk_is_reported(stage):
    """A limit on file sizes makes the first write fail, as on a full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    environ = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-m", "wxgptd", "--config", str(stage.config)],
        capture_output=True,
        text=True,
        timeout=20,
        preexec_fn=limit,
        env=environ,
    )
    assert done.returncode == 75
    assert "Traceback" not in done.stderr
    assert "error: cannot use the state directory: " in done.stderr


def test_a_signal_ignored_by_the_shell_stays_ignored(stage):
    command = ["nohup", sys.executable, "-m", "wxgptd", "--config", str(stage.config)]
    with stage.log.open("ab") as log:
        stage.daemon = subprocess.Popen(command, stdout=log, stderr=log)
    stage.wait_until_ready()
    stage.daemon.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert stage.get("/healthz")[0] == 200
    assert stage.stop() == 0


PASSING = """
import os, socket, sys
passed = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(passed.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="wxgptd.socket")
os.execv(sys.executable, [sys.executable, "-m", "wxgptd", "--config", sys.argv[2]])
"""


def test_a_passed_socket_replaces_the_configured_one(stage):
    from tests.support.processes import free_port

    port = free_port()
    with stage.log.open("ab") as log:
        stage.daemon = subprocess.Popen(
            [sys.executable, "-c", PASSING, str(port), str(stage.config)], stderr=log, stdout=log
        )
    own, stage.port = stage.port, port
    stage.wait_until_ready()
    assert stage.get("/healthz") == (200, "ok\n")
    stage.port = own
    assert stage.get("/healthz")[0] == 0
    assert f"ready, listening on 127.0.0.1:{port}" in stage.said()
    assert "is ignored: systemd passes" in stage.said()


def test_the_metrics_listener_serves_nothing_else(stage):
    from tests.support.processes import free_port

    port = free_port()
    stage.configure_server(f'metrics = "tcp:{port}:interface=127.0.0.1"')
    stage.start_daemon()
    status, body = stage.get(f"http://127.0.0.1:{port}/metrics")
    assert status == 200
    assert "wxgptd_ready 1.0" in body
    for path in ("/status", "/sessions", "/users", "/reload"):
        assert stage.get(f"http://127.0.0.1:{port}{path}")[0] == 404


def test_the_log_can_be_json(stage):
    with stage.log.open("ab") as log:
        stage.daemon = subprocess.Popen(
            [sys.executable, "-m", "wxgptd", "--config", str(stage.config), "--log-format", "json"],
            stderr=log,
        )
    stage.wait_until_ready()
    stage.stop()
    for line in stage.said().splitlines():
        assert {"at", "level", "logger", "message"} <= json.loads(line).keys()


def test_reload_works_by_command_and_by_signal_and_rejects_invalid_values(stage):
    stage.start_daemon()
    text = stage.config.read_text("utf-8")
    stage.config.write_text(f'{text}\n[texts]\nno_session = "没有对话呀"\n', encoding="utf-8")
    done = stage.wxgpt("reload")
    assert (done.returncode, done.stdout) == (0, "reloaded: texts.no_session\n")
    assert stage.send("/stop")["reply"] == "没有对话呀"
    stage.config.write_text(f'{text}\n[texts]\nno_session = "没有"\n', encoding="utf-8")
    stage.daemon.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while stage.send("/stop")["reply"] != "没有":
        assert time.monotonic() < deadline, stage.said()
    stage.config.write_text(f'{text}\n[session]\nttl = "soon"\n', encoding="utf-8")
    done = stage.wxgpt("reload")
    assert done.returncode == 4
    assert "session.ttl: must be a time" in done.stderr
    stage.config.write_text(
        text.replace("[server]", "[server]\nmax_connections = 7"), encoding="utf-8"
    )
    done = stage.wxgpt("reload")
    assert "restart required: server.max_connections" in done.stderr


def test_a_configuration_with_hundreds_of_rules_is_reloaded(stage):
    stage.start_daemon()
    rule = '[[rule]]\nmatch = "exact"\nwords = ["词{n}"]\nreply = {{ text = "{text}" }}\n'
    rules = "".join(rule.format(n=number, text="答" * 100) for number in range(400))
    with stage.config.open("a", encoding="utf-8") as config:
        config.write(f"\n{rules}")
    assert stage.config.stat().st_size > 100_000
    assert stage.wxgpt("reload").returncode == 0
    assert stage.send("词399")["reply"] == "答" * 100


def test_an_empty_configuration_is_rejected(stage):
    """An editor may be in the middle of saving the file."""
    stage.start_daemon()
    text = stage.config.read_text("utf-8")
    socket_path = stage.state / "admin.sock"
    stage.config.write_text(f'[server]\nadmin = "unix:{socket_path}"\n', encoding="utf-8")
    for options in ((), ("--dry-run",)):
        done = stage.wxgpt("reload", *options)
        assert done.returncode == 4
        assert "at least one [account.NAME]" in done.stderr
    stage.config.write_text(text, encoding="utf-8")
    assert stage.wxgpt("reload").stdout == "reloaded: nothing has changed\n"
