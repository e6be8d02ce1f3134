"""The output of every command, byte for byte, so that every change to it is visible and deliberate.

`make golden` rewrites tests/fixtures/cli; review the
diff before committing it. JSON output may gain keys but never loses any.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import injuries
from tests.support.admin_socket import AdminSocket
from tests.support.model_server import answer_at
from tests.support.story import Story
from wxgpt.help_text import localized
from wxgpt.language import choose
from wxgpt.main import COMMANDS, cli
from wxgptd import __version__
from wxgptd.eventlog.unavailable import StoreUnavailable

FIXTURES = Path(__file__).parent.parent / "fixtures"
CONFIG = """
[server]
state_dir = "state"
public_url = "https://chat.example.org"
[account.main]
token = "token123"
[assistant.chatgpt]
base_url = "http://127.0.0.1:9/v1"
api_key = "sk-canary"
model = "m"
system_prompt = "你是助手"
price_per_million = { input = 2, output = 8 }
[[rule]]
match = "keyword"
words = ["价格"]
reply = { text = "十元" }
"""
GROUPS = {"sessions": ("list", "show", "search", "unanswered", "stop"),
          "users": ("list", "block", "allow", "reset", "name"),
          "config": ("get", "set", "unset", "edit", "undo"), "context": ("add", "list", "remove"),
          "log": ("stat", "verify", "repair", "export", "import", "vacuum", "ship", "receive")}  # fmt: skip

OFFLINE = {
    "check": "check",
    "check-json": "check --json",
    "check-effective": "check --effective",
    "check-effective-json": "check --effective --json",
    "check-message": "check --message 价格",
    "check-event": "check --event CLICK:KEY",
    "check-kind": "check --kind voice",
    "tail": "tail -n 100",
    "tail-color": "--color always tail -n 100",
    "tail-wide": "tail --wide -n 100",
    "tail-chat": "tail --chat -n 100",
    "tail-json": "tail -n 3 -o json",
    "tail-ndjson": "tail -n 3 -o ndjson",
    "tail-unknown-kind": "tail --kind Nonsense",
    "replay": "replay",
    "replay-json": "replay -o json",
    "replay-conversation": "replay --as-conversation",
    "sessions-list": "sessions list --all",
    "sessions-list-json": "sessions list --all --json",
    "sessions-show": "sessions show s",
    "sessions-show-md": "sessions show s1 -o md",
    "sessions-show-html": "sessions show s1 -o html",
    "sessions-search": "sessions search 原因",
    "sessions-unanswered": "sessions unanswered",
    "config-get": "config get assistant",
    "config-set-dry-run": "config set session.ttl 10m --dry-run",
    "config-set-secret": "config set account.main.token abc",
    "context-list": "context list",
    "usage": "usage",
    "usage-failed": "usage --failed",
    "usage-by-user": "usage --by user",
    "usage-json": "usage --json",
    "usage-csv": "usage -o csv",
    "log-stat": "log stat",
    "log-stat-json": "log stat --json",
    "log-verify": "log verify",
    "log-verify-json": "log verify --json",
    "log-repair-dry-run": "log repair --dry-run",
    "log-export": "log export",
    "status-no-daemon": "status",
    "forget-dry-run": "forget alice --dry-run",
    "forget-no-terminal": "forget alice",
    "help": "help",
    "help-exit-codes": "help exit-codes",
    "help-time": "help time",
    "help-output": "help output",
    "help-log": "help log",
    "help-environment": "help environment",
    "help-nonsense": "help nonsense",
    "completion-bash": "completion bash",
    "completion-zsh": "completion zsh",
    "completion-fish": "completion fish",
    "init-no-terminal": "init",
    "send-usage": "send",
    "nonsense": "nonsense",
    "init": "init --root /place/new --provider ollama --domain chat.example.org --app-id wx0123456789"
    " --systemd --web caddy",
    "init-exists": "init",
    "doctor": "doctor",
    "doctor-json": "doctor --json",
    "send-no-daemon": "send 你好",
    "backup": "backup /place/backup.tar.gz",
    "restore": "restore /place/backup.tar.gz",
    "chat-no-terminal": "chat",
    "reload-no-daemon": "reload",
    "top-no-daemon": "top",
}
ONLINE = {
    "status": "status",
    "status-json": "status --json",
    "sessions-list-online": "sessions list",
    "users-list": "users list",
    "users-list-json": "users list --json",
    "users-block": "users block bob --for 2h",
    "users-allow": "users allow alice",
    "users-reset": "users reset al",
    "users-name": "users name alice 张三",
    "top": "top",
    "top-ndjson": "top -n 1 -o ndjson",
    "reload": "reload",
    "reload-json": "reload --json",
    "log-vacuum": "log vacuum",
    "log-vacuum-json": "log vacuum --json",
    "forget": "forget alice -y",
    "forget-nobody": "forget nobody -y",
    "sessions-stop-unknown": "sessions stop nonsense",
}
HELP = {
    f"help-of-{'-'.join((name, *inner))}": " ".join((name, *inner, "--help"))
    for name in COMMANDS
    for inner in ((), *((command,) for command in GROUPS.get(name, ())))
}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "wxgptd.toml").write_text(CONFIG)
    (tmp_path / "wxgptd.toml").chmod(0o600)
    shutil.copytree(FIXTURES / "logs" / "v4", tmp_path / "state")
    injuries.keep_master(tmp_path / "state")
    return tmp_path


def output_of(place: Path, line: str, language: str = "en") -> str:
    """Return the output of a command, masking what differs between runs."""
    words = line.split(" ")
    words = [word.replace("/place", str(place)) for word in words]
    at = 2 if words[0] == "--color" else 0
    command = [*words[:at], "--config", str(place / "wxgptd.toml"), *words[at:]]
    # Not measured by coverage: a hundred processes run code that other tests cover.
    omitted = ("WXGPT_", "COV")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(omitted)}
    environ.pop("NO_COLOR", None)
    result = subprocess.run(
        [sys.executable, "-m", "wxgpt", *command], cwd=place, stdin=subprocess.DEVNULL,
        capture_output=True, encoding="utf-8", check=False,
        env={**environ, "TZ": "Asia/Shanghai", "COLUMNS": "80", "WXGPT_LANG": language,
             "XDG_CONFIG_HOME": str(place)},
    )  # fmt: skip
    output = f"$ wxgpt {line}\n{result.stdout}"
    if result.stderr:
        output += f"--- standard error\n{result.stderr}"
    output += f"--- exit status {result.returncode}\n"
    output = output.replace(str(place), "/place").replace(__version__, "VERSION")
    return re.sub(r"[ \t]+\n", "\n", masked(output))


MASKS = (
    r"(?:令牌\(Token\)|EncodingAESKey) +(?P<SECRET>[A-Za-z0-9]{16,})",
    r"(?:pid|进程)\"?:? +(?P<PID>\d+)",
    r'"at": "(?P<NOW>[^"]+)", "version"',
    r'"free_bytes": (?P<COUNT>\d+)',
    r"(?i:python|disk|磁盘|expat|libraries|程序库)(?:: |\W[^}\n]*?)(?P<NUMBER>\d(?:[\d.,]*\d)?)(?=[ ,\"\n])",
    # The resolver's message, which depends on the machine's network.
    r"(?:the name does not resolve here |在这里解析不了这个域名)[(（](?P<REASON>[^)）]*)[)）]",
)
"""What differs between machines or runs: secrets, numbers and times."""


def masked(output: str) -> str:
    """Replace each value that a mask matches in `output` with the name of its group."""

    def hide(match: re.Match[str]) -> str:
        ((name, hidden),) = match.groupdict().items()
        prose = re.search(r"[^\W\d_]{2,} ", hidden) and name != "REASON"
        assert not prose, f"a mask hides words: {hidden}"
        start = match.start(name) - match.start()
        return match[0][:start] + name + match[0][start + len(hidden) :]

    for mask in MASKS:
        before = ""
        while before != output:
            before, output = output, re.sub(mask, hide, output)
    return output


def compare(name: str, output: str, language: str = "en") -> None:
    path = FIXTURES / "cli" / ("" if language == "en" else language) / f"{name}.txt"
    if os.environ.get("WXGPTD_WRITE_GOLDEN"):
        path.write_text(output, encoding="utf-8")
    assert output == path.read_text("utf-8"), "if the change is deliberate: make golden"


def in_both(lines: dict[str, str]) -> list[tuple[str, str]]:
    """Return each name with each language; JSON is the same in both."""
    chinese = [(name, "zh") for name, line in lines.items() if "json" not in line]
    return [*((name, "en") for name in lines), *chinese]


@pytest.mark.processes
@pytest.mark.parametrize(("name", "language"), in_both(OFFLINE))
def test_the_output_of_a_command_is_unchanged(name, language, place):
    compare(name, output_of(place, OFFLINE[name], language), language)


@pytest.mark.parametrize(("name", "language"), in_both(HELP))
def test_the_help_of_a_command_is_unchanged(name, language, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LANGUAGE", "")
    choose(language)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as written:
            status = localized(cli).main(HELP[name].split(), "wxgpt", standalone_mode=False)
    finally:
        choose("en")
    output = f"$ wxgpt {HELP[name]}\n{written.getvalue()}--- exit status {status}\n"
    compare(name, re.sub(r"[ \t]+\n", "\n", output.replace(__version__, "VERSION")), language)


@pytest.fixture
def online(place):
    story = Story(answer_at(8, "好的。"))
    story.open()
    story.open(user="bob")
    story.send("天为什么是蓝的？")
    story.send("第二个问题？")
    story.advance(3)
    (place / "state" / "admin.sock").unlink(missing_ok=True)
    socket = AdminSocket(story, place / "state" / "admin.sock")
    yield place, story
    socket.close()


@pytest.mark.processes
@pytest.mark.parametrize(("name", "language"), in_both(ONLINE))
def test_the_output_of_a_command_with_a_running_daemon_is_unchanged(name, language, online):
    place, story = online
    states = [state for _, state in story.service.state.journal.loaded()]
    sessions = [state.live.id for state in states if state.live is not None]
    output = output_of(place, ONLINE[name], language)
    for session in sessions:
        output = output.replace(session, "SESSION---")
    compare(name, re.sub(r'"delivery": "[^"]+"', '"delivery": "ID"', output), language)


@pytest.mark.processes
def test_a_change_that_the_daemon_cannot_record_says_why(online):
    place, story = online
    story.store.broken = StoreUnavailable("the event log cannot be written", hint="check the disk")
    compare("users-block-failed", output_of(place, "users block bob"))


def test_every_command_has_a_golden_output():
    covered = {line.split()[0] for line in (*OFFLINE.values(), *ONLINE.values(), *HELP.values())}
    assert set(COMMANDS) <= covered


def test_the_help_of_every_command_begins_with_examples():
    for name in HELP:
        assert "Examples:" in (FIXTURES / "cli" / f"{name}.txt").read_text("utf-8"), name


def test_json_output_is_valid_json():
    for path in (FIXTURES / "cli").glob("*json.txt"):
        output = path.read_text("utf-8").split("\n--- ")[0].splitlines()[1:]
        assert output, path
        for line in output:
            json.loads(re.sub(r"\b(PID|COUNT)\b", "1", line))
