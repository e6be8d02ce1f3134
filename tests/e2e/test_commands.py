"""The command line against a running daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.support.builders import words_of
from tests.support.processes import free_port

pytestmark = pytest.mark.processes


@pytest.fixture
def running(stage):
    stage.start_model()
    stage.start_daemon()
    return stage


def test_send_shows_each_attempt_and_the_reply(running):
    running.send("/chatgpt")
    done = running.wxgpt("send", "用 6 秒回答：为什么？")
    assert done.returncode == 0
    assert "attempt 1" in done.stdout
    assert "timeout" in done.stdout
    assert "attempt 2" in done.stdout
    assert "我是演示模型" in done.stdout


def test_send_compares_the_reply_with_the_expected_text(running):
    assert running.wxgpt("send", "/chatgpt", "--expect", "我是 AI 助手").returncode == 0
    assert running.wxgpt("send", "/help", "--expect", "没有这句").returncode == 6
    assert (
        running.wxgpt("send", "--image", "http://mmbiz.qpic.cn/x", "--expect", "文字").returncode
        == 0
    )
    subscribed = running.wxgpt("send", "--event", "subscribe", "--user", "x", "--json")
    assert json.loads(subscribed.stdout)["reply"] is None


def test_send_without_a_daemon_says_how_to_start_it(stage):
    done = stage.wxgpt("send", "/help")
    assert done.returncode == 3
    assert "hint: start the daemon" in done.stderr


def test_tail_follows_the_log_and_continues_after_a_restart(running):
    running.send("/help")
    tail = running.begin("tail", "-f", "-o", "ndjson")
    lines = [json.loads(tail.stdout.readline()) for _ in range(2)]
    assert [line["seq"] for line in lines] == [1, 2]
    running.send("/chatgpt")
    began = time.monotonic()
    events = [json.loads(tail.stdout.readline()) for _ in range(3)]
    assert time.monotonic() - began < 2
    assert {"seq", "at", "type", "account", "user", "session", "delivery"} <= set(events[0])
    assert {event["session"] for event in events} == {events[0]["session"]}
    running.stop()
    running.start_daemon()
    running.send("/stop")
    assert json.loads(tail.stdout.readline())["seq"] == 6
    tail.send_signal(signal.SIGINT)
    tail.communicate(timeout=10)
    assert tail.returncode == 130


def test_status_and_sessions_query_the_daemon(running):
    running.send("/chatgpt")
    status = json.loads(running.wxgpt("status", "--json").stdout)
    assert status["ready"] is True
    assert status["open_sessions"] == 1
    shown = running.wxgpt("status").stdout
    assert re.search(r"timeouts .*main [0-9]+ of [0-9]+ left \(auto\)", shown), shown
    (session,) = json.loads(running.wxgpt("sessions", "list", "--json").stdout)
    assert running.wxgpt("sessions", "stop", session["session"]).returncode == 0
    assert running.wxgpt("sessions", "stop", session["session"]).returncode == 1
    assert running.wxgpt("sessions", "stop", "a b/c").returncode == 1
    assert running.send("在吗")["reply"] is None


def test_status_without_a_daemon_exits_with_3_and_a_hint(stage):
    done = stage.wxgpt("status")
    assert done.returncode == 3
    assert "hint: start it" in done.stderr


def test_metrics_are_served_on_the_admin_socket(running):
    import http.client
    import socket

    connection = http.client.HTTPConnection("x")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(running.state / "admin.sock"))
    connection.request("GET", "/metrics")
    body = connection.getresponse().read().decode()
    connection.close()
    assert "wxgptd_held_attempts 0.0" in body
    assert running.get("/metrics")[0] == 404
    assert (running.state / "admin.sock").stat().st_mode & 0o077 == 0


def old_log(running, tmp_path) -> Path:
    """Restart the daemon with an empty log; return a configuration for the old log."""
    for text in ("/chatgpt", "一？", "/stop", "/chatgpt 二？", "/history"):
        running.send(text)
    running.stop()
    copy = tmp_path / "copy"
    running.state.rename(copy)
    running.start_daemon()
    old = tmp_path / "old.toml"
    text = running.config.read_text().replace(str(running.state), str(copy))
    other_port = text.replace(f"tcp:{running.port}:", f"tcp:{free_port()}:")
    old.write_text(other_port)
    old.chmod(0o600)
    return old


def test_replay_resends_the_logged_questions_and_compares_reply_times(running, tmp_path):
    old = old_log(running, tmp_path)
    url = f"http://127.0.0.1:{running.port}/wx/main"
    replay = ("--config", str(old), "replay", "--to", url, "-y")
    done = running.wxgpt(*replay, "--speed", "20x", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [message["text"] for message in report["messages"]] == ["/chatgpt 一？", "/chatgpt 二？"]
    assert report["faults"] == 0
    assert "2 messages from 1 user will be sent to" in done.stderr
    assert "commands, follows and unfollows are left out" in done.stderr
    types = [
        json.loads(line)["type"]
        for line in running.wxgpt("tail", "-o", "ndjson").stdout.splitlines()
    ]
    assert types.count("QuestionAsked") == 2
    assert types.count("CommandGiven") == 0
    again = running.wxgpt(*replay, "--speed", "100x", "--commands", "--json")
    assert [message["text"] for message in json.loads(again.stdout)["messages"]] == [
        "/chatgpt",
        "一？",
        "/stop",
        "/chatgpt 二？",
        "/history",
    ]
    assert "mean" in running.wxgpt(*replay, "--speed", "100x").stdout


def test_replay_needs_confirmation_and_exits_when_its_pipe_closes(running, tmp_path):
    old = old_log(running, tmp_path)
    url = f"http://127.0.0.1:{running.port}/wx/main"
    unasked = running.wxgpt("--config", str(old), "replay", "--to", url)
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    sending = running.begin("--config", str(old), "replay", "--to", url, "-y", "--speed", "0.01x")
    assert sending.stdout.readline()
    assert sending.stdout.readline().endswith("/chatgpt 一？\n")
    sending.stdout.close()
    sending.wait(20)  # raises if it keeps running after its pipe closes
    assert "Traceback" not in sending.stderr.read()
    sending.stderr.close()
    questions = running.wxgpt("tail", "--kind", "QuestionAsked", "-o", "ndjson").stdout
    assert len(questions.splitlines()) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_replay_refuses_the_daemon_that_wrote_the_log(running, host):
    running.send("/chatgpt 一？")
    before = running.wxgpt("log", "stat", "--json").stdout
    url = f"http://{host}:{running.port}/wx/main"
    done = running.wxgpt("replay", "--to", url, "-y")
    assert done.returncode == 2
    assert "is the daemon that wrote this log" in done.stderr
    assert running.wxgpt("log", "stat", "--json").stdout == before


@pytest.mark.parametrize(
    "command",
    [("forget", "nobody", "-y"), ("forget", "nobody", "--dry-run"), ("users", "block", "nobody"),
     ("users", "reset", "nobody"), ("tail", "--user", "nobody")],
    ids=" ".join,
)  # fmt: skip
def test_an_unknown_openid_is_reported(running, command):
    running.send("/chatgpt")
    done = running.wxgpt(*command)
    assert done.returncode == 1
    assert "unknown user: " in done.stderr
    assert "nobody" in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize(
    ("text", "why"),
    [("在吗", "outside a session"), ("你好", "outside a session")],
)
def test_send_explains_a_missing_reply(running, text, why):
    done = running.wxgpt("send", text)
    assert done.returncode == 0
    assert why in done.stdout
    assert json.loads(running.wxgpt("send", text, "--json").stdout)["why"] == "outside"
    count, deadline = None, time.monotonic() + 10
    while count is None and time.monotonic() < deadline:
        count = re.search(r"unanswered.*[12] today", running.wxgpt("status").stdout)
    assert count
    assert "MessagesUnanswered" in running.wxgpt("tail", "-o", "ndjson").stdout


def test_replay_refuses_to_send_messages_to_another_machine(running):
    running.send("/chatgpt")
    done = running.wxgpt("replay", "--to", "https://chat.example.com/wx/main")
    assert done.returncode == 2
    assert "--allow-remote" in done.stderr


def test_the_demo_model_follows_the_prompt(running):
    import urllib.request

    base = running.config.read_text().split('base_url = "')[1].split('"')[0]
    payload = {"messages": [{"role": "user", "content": "写 50 字"}]}
    request = urllib.request.Request(f"{base}/chat/completions", json.dumps(payload).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.loads(response.read())["choices"][0]["message"]["content"]
    assert "我是演示模型" in answer
    assert "收到了 0 轮上下文" in answer
    assert "写 50 字" in answer


def test_the_demo_model_reports_a_port_in_use(running):
    base = running.config.read_text().split('base_url = "')[1].split('"')[0]
    done = running.wxgpt("demo-model", "--port", base.split(":")[2].split("/")[0])
    assert done.returncode == 2
    assert "in use" in done.stderr


def test_chat_works_at_a_terminal(running):
    import pty
    import select

    parent, child = pty.openpty()
    chat = __import__("subprocess").Popen(
        running.command("chat"), stdin=child, stdout=child, stderr=child
    )
    os.close(child)

    unread = ""

    def read_until(mark: str) -> None:
        """Read up to `mark`; keep the rest for the next call."""
        nonlocal unread
        deadline = time.monotonic() + 20
        while mark not in unread:
            ready, _, _ = select.select([parent], [], [], 1.0)
            assert time.monotonic() < deadline, unread
            unread += os.read(parent, 4_096).decode("utf-8", "replace") if ready else ""
        unread = unread.partition(mark)[2]

    read_until("> ")
    os.write(parent, b"/chatgpt\n")
    read_until("我是 AI 助手")
    read_until("> ")
    os.write(parent, b"\x04")
    assert chat.wait(10) == 0
    os.close(parent)


def test_demo_runs_to_the_end_and_a_kept_demo_exits_on_interrupt():
    import subprocess
    import sys
    import urllib.request

    demo = subprocess.Popen(
        [sys.executable, "-m", "wxgpt", "demo", "--keep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    output = ""
    for line in demo.stdout:
        output += line
        if "removes everything" in line:
            break
    assert "one model call" in output
    assert "now has the complete answer" in output
    config = Path(output.split("export WXGPT_CONFIG=")[1].split()[0])
    page = re.findall(r"http://\S+/a/[\w-]+", output)[-1]
    with urllib.request.urlopen(page, timeout=5) as response:
        assert b"aria-busy" in response.read(), "it is being written"
    base = config.read_text("utf-8").split('base_url = "')[1].split('"')[0]
    demo.send_signal(signal.SIGINT)
    assert demo.wait(30) == 130
    demo.stdout.close()
    assert not config.exists()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(base, timeout=2)


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_send_exits_at_once(running, number):
    running.send("/chatgpt")
    sending = running.begin("send", "用 12 秒回答：还在吗？")
    time.sleep(2)
    began = time.monotonic()
    sending.send_signal(number)
    sending.communicate(timeout=10)
    assert sending.returncode == (130 if number == signal.SIGINT else 143)
    assert time.monotonic() - began < 3


def test_replay_reports_that_nothing_is_listening(running):
    running.send("/chatgpt 一？")
    done = running.wxgpt("replay", "-y", "--to", f"http://127.0.0.1:{free_port()}/wx/main")
    assert done.returncode == 3
    assert "nothing is listening" in done.stderr


@pytest.mark.parametrize(
    ("options", "reply"),
    [
        (["--kind", "voice"], "没能识别这段语音，请改用文字提问。"),
        (["--kind", "video"], "目前看不了视频，请用文字描述你的问题。"),
        (["--kind", "shortvideo"], "目前看不了视频，请用文字描述你的问题。"),
        (["--kind", "sticker"], "收到你的表情啦。有问题的话，请用文字告诉我。"),
        (["--kind", "image"], "目前看不了图片，请用文字描述你的问题。"),
        (["--event", "CLICK", "--event-key", "X"], None),
        (["--event", "VIEW", "--event-key", "http://x"], None),
        (["--event", "LOCATION"], None),
    ],
)
def test_send_supports_every_kind_of_message(running, options, reply):
    running.send("/chatgpt")
    done = running.wxgpt("send", *options, "--json")
    assert json.loads(done.stdout)["reply"] == reply


@pytest.mark.parametrize("kind", ["location", "link", "voice", "text"])
def test_send_can_ask_a_question_as_text_voice_location_or_link(running, kind):
    opened = running.send("/chatgpt")
    assert opened["reply"], opened
    sent = json.loads(running.wxgpt("send", "--kind", kind, "用 0 秒回答：在哪里", "--json").stdout)
    assert sent["reply"], (sent, running.said()[-1_000:])


def test_send_delivers_a_file_unchanged(running):
    path = running.directory / "message.xml"
    path.write_text(
        "<xml><ToUserName>gh_wxgpt_local</ToUserName><FromUserName>oFromFile</FromUserName>"
        "<CreateTime>1348831860</CreateTime><MsgType>text</MsgType><Content>/help</Content>"
        "<MsgId>1234567890123456</MsgId></xml>"
    )
    done = running.wxgpt("send", "--xml", str(path), "--json")
    sent = json.loads(done.stdout)
    assert sent["user"] == "oFromFile"
    assert "发送 /chatgpt 开始对话" in words_of(sent["reply"])
    path.write_text("<html>")
    done = running.wxgpt("send", "--xml", str(path))
    assert done.returncode == 2
    assert "not a WeChat message" in done.stderr


def test_the_operator_can_block_and_reset_a_user(running):
    block = ("users", "block", "mallory", "--for", "2h")
    assert running.wxgpt(*block).returncode == 1
    assert running.wxgpt(*block, "--unseen").stdout == "main/mallory: blocked\n"
    assert "暂时无法" in running.send("/chatgpt", "--user", "mallory")["reply"]
    listed = running.wxgpt("users", "list").stdout
    assert "mallory" in listed
    assert "blocked until" in listed
    (user,) = json.loads(running.wxgpt("users", "list", "--standing", "blocked", "--json").stdout)
    assert (user["user"], user["standing"]) == ("mallory", "blocked")
    assert running.wxgpt("users", "reset", "mallory").returncode == 0
    assert "我是 AI 助手" in running.send("/chatgpt", "--user", "mallory")["reply"]
    assert running.wxgpt("users", "block", "x", "--for", "soon").returncode == 2


def test_doctor_reports_what_works_and_how_to_fix_the_rest(running):
    done = running.wxgpt("doctor")
    assert done.returncode == 0, done.stderr
    assert "✔ assistant chatgpt: demo answers in" in done.stdout
    assert "✔ webhook main: " in done.stdout
    assert "✘" not in done.stdout
    running.stop()
    running.configure("http://127.0.0.1:9/v1")
    running.start_daemon()
    done = running.wxgpt("doctor")
    assert done.returncode == 1
    assert "✘ assistant chatgpt" in done.stdout
    assert "fix: start the model server: nothing is listening at base_url" in done.stdout
    findings = json.loads(running.wxgpt("doctor", "--json").stdout)
    (failed,) = [finding for finding in findings if finding["ok"] is False]
    assert (failed["assistant"], failed["reason"]) == ("chatgpt", "unavailable")
    running.stop()
    done = running.wxgpt("doctor")
    assert done.returncode == 1
    assert "✘ daemon: no daemon at" in done.stdout
    assert "– assistant chatgpt" in done.stdout


def test_an_idle_tail_uses_no_cpu_and_misses_nothing_across_a_restart(running):
    running.send("/chatgpt")
    tail = running.begin("tail", "-f", "-n", "0", "-o", "ndjson")
    time.sleep(2.0)

    def cpu_s() -> float:
        fields = Path(f"/proc/{tail.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = cpu_s()
    time.sleep(3.0)
    assert cpu_s() - before <= 0.02
    running.send("/help")
    running.stop()
    running.start_daemon()
    running.send("/stop")
    time.sleep(1.0)
    tail.send_signal(signal.SIGINT)
    output, _ = tail.communicate(timeout=10)
    seqs = [json.loads(line)["seq"] for line in output.splitlines()]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert len(seqs) >= 5


def test_doctor_continues_without_access_to_a_token(running):
    text = running.config.read_text("utf-8")
    running.config.write_text(text.replace('"canarytoken"', '"credential:token"'), encoding="utf-8")
    done = running.wxgpt("doctor")
    assert "– webhook main" in done.stdout
    assert "✔ assistant chatgpt" in done.stdout
    json.loads(running.wxgpt("doctor", "--json").stdout)
