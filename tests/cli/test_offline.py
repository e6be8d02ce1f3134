"""The commands that work without the daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support import injuries
from tests.support.builders import BOB
from tests.support.injuries import conversation, write
from wxgpt import options, render
from wxgpt.commands import tail
from wxgpt.main import cli
from wxgptd.domain.model.values import User

EVENTS = conversation(3)
CONFIG = """
[server]
state_dir = "state"
[account.main]
token = "token123"
[assistant.chatgpt]
base_url = "http://127.0.0.1:9/v1"
model = "m"
system_prompt = "你是助手"
"""


FIXTURES = Path(__file__).parent.parent / "fixtures" / "logs"


@pytest.fixture
def place(tmp_path, monkeypatch):
    config = tmp_path / "wxgptd.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)
    injuries.keep_master(tmp_path / "state")
    write(tmp_path / "state" / "log", EVENTS)
    write(tmp_path / "state" / "log", conversation(1), user=BOB)
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


class Run:
    """The outcome of running `wxgpt` in its own process."""

    def __init__(self, place, *arguments, environ=None):
        command = [
            sys.executable,
            "-m",
            "wxgpt",
            "--config",
            str(place / "wxgptd.toml"),
            *arguments,
        ]
        result = subprocess.run(
            command, capture_output=True, encoding="utf-8", env={**os.environ, **(environ or {})}
        )
        self.code, self.out, self.err = result.returncode, result.stdout, result.stderr

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


def invoke(place, *arguments) -> str:
    result = CliRunner().invoke(cli, ["--config", str(place / "wxgptd.toml"), *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


# tail


def test_tail_prints_the_last_events_as_lines(place):
    output = invoke(place, "tail", "-n", "3", "--utc", "--wide").splitlines()
    assert len(output) == 3
    assert output[0].split() == [
        "16",
        "01-01",
        "00:00:00",
        "main/bob",
        "s1",
        "asked",
        "问题",
        "0：为什么？",
    ]
    assert "answered" in output[1]
    assert "(1.5 s, chatgpt) 因为第 0 个原因。" in output[1]


def test_tail_prints_twenty_lines_by_default_and_every_event_as_ndjson(place):
    write(place / "state" / "log", conversation(8), user=User("main", "carol"))
    assert len(invoke(place, "tail").splitlines()) == 20
    assert len(invoke(place, "tail", "-o", "ndjson").splitlines()) > 20


def test_tail_json_has_the_keys_that_scripts_rely_on(place):
    (first, *_) = json.loads(invoke(place, "tail", "--json"))
    assert first == {
        "seq": 1,
        "at": "1970-01-01T00:00:00.000Z",
        "type": "SessionOpened",
        "account": "main",
        "user": "alice",
        "session": "s1",
        "delivery": None,
        "assistant": "chatgpt",
        "ttl_s": 300.0,
    }


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--user", "bob"], 6),
        (["--user", "alice,bob"], 18),
        (["--kind", "QuestionAsked"], 4),
        (["--kind", "question_asked,AnswerCompleted", "--user", "alice"], 6),
        (["--session", "s1", "--user", "bob"], 6),
        (["--account", "other"], 0),
        (["--grep", "问题 2"], 1),
        (["--after", "16"], 2),
        (["--since", "@2"], 3),
        (["--until", "@0.5", "--user", "alice"], 5),
        (["--since", "1970-01-01T08:00:02"], 3),
    ],
)
def test_filters_combine_and_commas_list_alternatives(place, filters, count):
    assert len(invoke(place, "tail", "-o", "ndjson", *filters).splitlines()) == count


@pytest.mark.parametrize(
    ("chosen", "count", "begin"),
    [
        ({}, None, 0),
        ({}, 1, 17),
        ({"after": 60_000}, None, 60_000),
        ({"after": 60_000}, 1, 60_000),
        ({"after": 6, "grep": frozenset({"天"})}, None, 6),
        ({"after": 6, "since": 1.0}, 1, 6),
        ({"after": 6, "users": frozenset({"alice"})}, 1, 6),
    ],
)
def test_tail_reads_only_the_events_it_prints_unless_it_searches(place, chosen, count, begin):
    empty = frozenset()
    unfiltered = {
        "users": empty, "sessions": empty, "kinds": empty, "accounts": empty, "grep": empty,
        "after": 0, "since": None, "until": None,
    }  # fmt: skip
    filters = tail.Filter(**{**unfiltered, **chosen})
    assert tail._begin(place / "state" / "log", filters, count) == begin


def test_tail_can_print_in_reverse_order(place):
    seqs = [
        json.loads(line)["seq"] for line in invoke(place, "tail", "-r", "-o", "ndjson").splitlines()
    ]
    assert seqs == list(range(18, 0, -1))


def test_tail_resumes_from_its_cursor(place):
    cursor = str(place / "seen")
    first = invoke(place, "tail", "-o", "ndjson", "--cursor-file", cursor, "--until", "@0.7")
    second = invoke(place, "tail", "-o", "ndjson", "--cursor-file", cursor)
    assert first
    assert invoke(place, "tail", "-o", "ndjson", "--cursor-file", cursor) == ""
    assert (place / "seen").read_text() == "18\n"
    assert not set(first.splitlines()) & set(second.splitlines())


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["tail", "--kind", "Nonsense"], "kinds: opened"),
        (["tail", "--since", "soon"], "10m, 2h, 3d, yesterday"),
        (["tail", "--since", "99999999999d"], "10m, 2h, 3d, yesterday"),
        (["tail", "-f", "-r"], "mutually exclusive"),
        (["replay", "--until", "²"], "neither an event number nor a time"),
        (["replay", "--speed", "fast", "--to", "http://127.0.0.1:1/"], "is not a speed"),
        (["replay", "--to", "http://[::1"], "not a URL to deliver to"),
        (["send"], "give exactly one of"),
        (["send", "--url", "foo", "hi"], "not a URL to deliver to"),
        (["send", "--encrypt", "hi"], "no aes_key"),
        (["send", "--account", "other", "hi"], "accounts: main"),
        (["send", "--expect", "(", "hi"], "not a valid regular expression"),
        (["tial"], "did you mean tail?"),
        (["tail", "--colour"], "no such option"),
    ],
)
def test_a_usage_error_suggests_a_fix(place, arguments, hint):
    run = Run(place, *arguments)
    assert run.code == 2
    assert hint in run.err
    assert "Traceback" not in run.err


@pytest.mark.processes
def test_an_unknown_session_suggests_a_fix(place):
    run = Run(place, "sessions", "show", "nobody")
    assert run.code == 1
    assert "sessions list --all" in run.err


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["tail", "--cursor-file", "/nonexistent/x"], 1), (["tail", "--cursor-file", "/tmp"], 1)],
)
def test_an_inaccessible_file_is_named_in_the_error(place, arguments, code):
    run = Run(place, *arguments)
    assert run.code == code
    assert arguments[-1] in run.err
    assert "bug in wxgpt" not in run.err


@pytest.mark.processes
def test_a_closed_pipe_prints_no_error(place):
    command = f"{sys.executable} -m wxgpt --config {place}/wxgptd.toml tail -o ndjson | head -1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True
    )
    assert result.stderr == ""
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.processes
def test_tail_works_on_a_terminal_that_cannot_show_chinese(place):
    run = Run(place, "tail", environ={"PYTHONIOENCODING": "latin-1"})
    assert run.code == 0, run.err


# Other commands that read the log.


def test_replay_shows_the_state_after_any_event(place):
    state = json.loads(invoke(place, "replay", "--until", "3", "--json"))
    (alice,) = state["users"]
    assert state["seq"] == 3
    assert alice["unanswered"] == []
    state = json.loads(invoke(place, "replay", "--until", "4", "--json"))
    (alice,) = state["users"]
    assert alice["unanswered"] == ["q0"]
    assert alice["open_windows"] == [{"delivery": "q0", "attempts": 1}]
    assert alice["session"]["context"] == [
        {"role": "system", "content": "你是助手"},
        {"role": "user", "content": "问题 0：为什么？"},
    ]
    state = json.loads(invoke(place, "replay", "--user", "alice", "--json"))
    roles = [message["role"] for message in state["users"][0]["session"]["context"]]
    assert roles == ["system", *["user", "assistant"] * 3]
    assert "after event 18" in invoke(place, "replay")


def test_replay_prints_a_conversation(place):
    output = invoke(place, "replay", "--as-conversation", "--user", "alice")
    assert output.count("user\n") == 3
    assert "+1.5 s  m-1" in output
    assert "    因为第 2 个原因。" in output


def test_sessions_are_listed_and_shown(place):
    (alice, bob) = json.loads(invoke(place, "sessions", "list", "--json"))
    assert (alice["user"], alice["questions"], alice["closed"]) == ("alice", 3, None)
    assert bob["user"] == "bob"
    assert "alice" in invoke(place, "sessions", "list")
    shown = json.loads(invoke(place, "sessions", "show", "s1", "--json"))
    assert [turn["state"] for turn in shown["turns"]] == ["completed"] * 3


def test_the_log_is_counted_verified_and_exported(place):
    assert invoke(place, "log", "stat").splitlines()[-1].endswith("18 events")
    assert invoke(place, "log", "verify") == "ok: 2 segments, events 1 to 18\n"
    stat = json.loads(invoke(place, "log", "stat", "--json"))
    assert [segment["ends"] for segment in stat] == ["sealed", "sealed"]
    assert len(invoke(place, "log", "export").splitlines()) == 18 + 1


@pytest.mark.processes
def test_damage_is_reported_with_its_position_but_a_torn_tail_is_not(place):
    log = place / "state" / "log"
    first, last = sorted(log.glob("*.wxlog"))
    torn = last.read_bytes()[:-30]
    last.write_bytes(torn)
    run = Run(place, "log", "verify")
    assert run.code == 0
    assert "torn" in run.err
    last.write_bytes(b"WXGP")
    assert Run(place, "log", "verify").code == 0
    injuries.injure(first, injuries.flip(100))
    run = Run(place, "log", "verify")
    assert run.code == 5
    assert f"{first.name}: byte " in run.out
    assert Run(place, "tail").code == 5


@pytest.mark.processes
def test_a_missing_log_is_reported(tmp_path):
    config = tmp_path / "wxgptd.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)
    run = Run(tmp_path, "tail")
    assert run.code == 2
    assert "has the daemon run" in run.err


@pytest.mark.processes
def test_a_missing_configuration_suggests_the_demo(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "wxgpt", "tail"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "WXGPT_CONFIG"},
    )
    assert result.returncode == 4
    assert "wxgpt demo" in result.stderr


@pytest.mark.processes
def test_an_event_from_a_newer_version_is_shown_by_tail_but_stops_replay(place):
    from wxgptd.eventlog import codec

    log = place / "state" / "log"
    from tests.support.injuries import segments
    from wxgptd.eventlog import framing

    payload = codec.join(
        1, [codec.pack([(999, 1, 5.0, "main:00000000000a11ce", 0, b"\x91\xa0", b"")])]
    )
    path = log / segments.segment_name(19)
    header = framing.Header(19, 0.0, 7)
    path.write_bytes(framing.pack_header(header) + framing.pack_frame(7, 19, 1, payload))
    assert "written by a newer wxgptd" in invoke(place, "tail", "-n", "1")
    run = Run(place, "replay")
    assert run.code == 5
    assert "install that version" in run.err


# check


def test_check_lists_accounts_and_assistants(place):
    output = invoke(place, "check")
    assert "account main: /wx/main, plain text" in output
    assert "assistant chatgpt: /chatgpt asks m" in output


@pytest.mark.processes
def test_check_warns_about_likely_mistakes(place):
    (place / "wxgptd.toml").write_text(CONFIG.replace("token123", "changeThisToken"))
    run = Run(place, "check")
    assert run.code == 0
    for warning in ("no phone can open", "from the example", "in plain text"):
        assert warning in run.err


@pytest.mark.processes
def test_check_lists_every_mistake(place):
    (place / "wxgptd.toml").write_text(
        CONFIG.replace("token", "tokn").replace("model =", "modle =")
    )
    run = Run(place, "check")
    assert run.code == 4
    assert "account.main.tokn" in run.err
    assert "did you mean `model`" in run.err
    assert "4 errors" in run.err


# Times.

NOON = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("10m", NOON - 600),
        ("2h", NOON - 7_200),
        ("1.5d", NOON - 129_600),
        ("@1600000000", 1_600_000_000.0),
        ("2023-11-14T22:13:20Z", NOON),
        ("2023-11-15T06:13:20+08:00", NOON),
    ],
)
def test_times_are_parsed_in_every_format(text, at):
    assert options.parse_time(text, NOON) == at


def test_yesterday_begins_at_midnight():
    yesterday = time.localtime(options.parse_time("yesterday", NOON))
    assert (yesterday.tm_hour, yesterday.tm_min) == (0, 0)
    assert options.parse_time("today", NOON) - options.parse_time("yesterday", NOON) == 86_400


# Width.


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("天空很蓝", 8, "天空很蓝"),
        ("天空很蓝", 7, "天空很…"),
        ("天空很蓝", 6, "天空…"),
        ("abc", 2, "a…"),
    ],
)
def test_chinese_characters_take_two_columns_and_are_never_split(text, width, shown):
    assert render.shorten(text, width) == shown
    assert render.columns(render.pad(text, width)) == width


# Imports.

HEAVY = ("twisted", "treq", "wechatpy", "rich", "jinja2", "prometheus_client")


@pytest.mark.processes
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["tail"], ["tail", "--help"], ["sessions", "list"], ["log", "stat"], ["replay"]],
)
def test_commands_that_only_read_the_log_import_no_heavy_modules(place, arguments):
    program = (
        "import sys; sys.argv = sys.argv[:1] + sys.argv[2:]\n"
        "from wxgpt.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "x",
        "--config",
        str(place / "wxgptd.toml"),
        *arguments,
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stderr.strip().splitlines()[-1] == "[]", result.stderr


def test_the_help_of_every_command_puts_examples_before_options():
    from wxgpt.main import COMMANDS

    for name in COMMANDS:
        output = CliRunner().invoke(cli, [name, "--help"]).output
        assert output.index("Examples:") < output.index("Options:"), name
    for group, names in {
        "sessions": ("list", "show", "stop"),
        "log": ("stat", "verify", "export"),
    }.items():
        for name in names:
            output = CliRunner().invoke(cli, [group, name, "--help"]).output
            assert output.index("Examples:") < output.index("Options:"), name


def test_the_help_of_tail_lists_every_event_kind():
    from wxgptd.eventlog.codec import KINDS

    output = " ".join(CliRunner().invoke(cli, ["tail", "--help"]).output.split())
    assert all(kind in output for kind in KINDS)


# check --message


HELD_BACK = (
    "after a session expired: held; a hint says so, and a tap resumes the session (after_expiry)"
)
RULES = """
[[rule]]
match = "keyword"
words = ["价格"]
reply = { text = "十元" }
[[rule]]
match = "exact"
words = "人工"
always = true
reply = { image = "m1" }
[[rule]]
match = "event:CLICK:NEW"
reply = { news = [{ title = "最新", url = "https://e.example/1" }] }
[[rule]]
match = "kind:voice"
forward = "https://old.example.com/?key=secret"
"""


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (["--message", "人工"], ["always: rule 2 (exact 人工) replies with image"]),
        (
            ["--message", "/ChatGPT 你好"],
            ["always: the chat command that opens a session with chatgpt"],
        ),
        (["--message", "/stop"], ["always: the chat command /stop"]),
        (
            ["--message", "价格？"],
            [
                "in a session: a question for the model",
                "outside a session: rule 1 (keyword 价格) replies 十元",
            ],
        ),
        (
            ["--message", "你好"],
            [
                "in a session: a question for the model",
                HELD_BACK,
                "outside a session: nothing; WeChat gets `success`",
            ],
        ),
        (
            ["--event", "click:NEW"],
            ["in or outside a session: rule 3 (event:CLICK:NEW) replies with news: 最新"],
        ),
        (
            ["--message", "继续"],
            [
                "first: the next part of the last answer, if there is one; otherwise",
                "in a session: a question for the model",
                HELD_BACK,
                "outside a session: nothing; WeChat gets `success`",
            ],
        ),
        (
            ["--kind", "voice"],
            [
                "in a session: a reply that this kind is not supported",
                "outside a session: rule 4 (kind:voice) forwards to https://old.example.com/",
            ],
        ),
    ],
)
def test_check_shows_how_a_message_would_be_routed(place, options, lines):
    path = place / "wxgptd.toml"
    path.write_text(path.read_text() + RULES)
    assert invoke(place, "check", *options).splitlines() == lines


# init --rotate-aes-key


OLD_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


def set_aes_key(place, key: str = OLD_KEY):
    path = place / "wxgptd.toml"
    text = path.read_text().replace(
        "[account.main]", f'[account.main]  # mine\napp_id = "wx1"\naes_key = "{key}"  # 43'
    )
    path.write_text(text)
    path.chmod(0o640)
    return path


def account(path):
    from wxgptd.config import load

    return load(path).account["main"]


@pytest.mark.processes
def test_rotation_keeps_the_previous_aes_key_until_it_is_finished(place):
    path = set_aes_key(place)
    output = invoke(place, "init", "--rotate-aes-key")
    rotated = account(path)
    assert rotated.previous_aes_key.reveal() == OLD_KEY
    assert rotated.aes_key.reveal() != OLD_KEY
    assert rotated.aes_key.reveal() in output
    assert "# mine" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    assert Run(place, "init", "--rotate-aes-key").code == 2
    invoke(place, "init", "--rotate-aes-key", "--finish")
    assert account(path).previous_aes_key.reveal() == ""
    assert account(path).aes_key == rotated.aes_key
    assert Run(place, "init", "--rotate-aes-key", "--finish").code == 2
    assert [path.name for path in place.iterdir() if ".new" in path.name] == []


def test_rotation_edits_the_target_of_a_symlinked_configuration(place):
    path = set_aes_key(place)
    path.rename(place / "real.toml")
    path.symlink_to("real.toml")
    invoke(place, "init", "--rotate-aes-key")
    assert path.is_symlink()
    assert account(place / "real.toml").previous_aes_key.reveal() == OLD_KEY


def test_rotation_replaces_a_key_in_a_separate_file(place):
    (place / "aes").write_text(OLD_KEY)
    (place / "aes").chmod(0o600)
    path = set_aes_key(place, "file:aes")
    output = invoke(place, "init", "--rotate-aes-key")
    rotated = account(path)
    assert rotated.previous_aes_key.reveal() == OLD_KEY
    assert rotated.aes_key.reveal() in output
    assert (place / "aes.previous").stat().st_mode & 0o777 == 0o600
    invoke(place, "init", "--rotate-aes-key", "--finish")
    assert not (place / "aes.previous").exists()


@pytest.mark.processes
def test_rotation_leaves_a_key_in_the_environment_to_the_operator(place):
    path = set_aes_key(place, "env:AES")
    before = path.read_text()
    run = Run(place, "init", "--rotate-aes-key", environ={"AES": OLD_KEY})
    assert run.code == 2
    assert "previous_aes_key" in run.err
    assert path.read_text() == before


@pytest.mark.processes
def test_rotation_needs_an_existing_key(place):
    run = Run(place, "init", "--rotate-aes-key")
    assert run.code == 2
    assert "plain text mode" in run.err


# usage


def test_usage_can_be_grouped_by_day_user_assistant_or_model(place):
    rows = json.loads(invoke(place, "usage", "--by", "user", "--json"))
    assert [row["user"] for row in rows] == ["main/alice", "main/bob"]
    assert rows[0] == {
        "user": "main/alice",
        "answers": 3,
        "failures": 0,
        "prompt_tokens": 9,
        "completion_tokens": 12,
        "estimated_tokens": 0,
        "cost": 0.75,
        "unanswered": 0,
    }
    (row,) = json.loads(invoke(place, "usage", "--by", "assistant", "--json"))
    assert (row["assistant"], row["answers"]) == ("chatgpt", 4)
    (row,) = json.loads(invoke(place, "usage", "--by", "model", "--json"))
    assert row["model"] == "m-1"
    assert invoke(place, "usage", "-o", "csv").splitlines() == [
        "day,answers,failures,prompt_tokens,completion_tokens,estimated_tokens,cost,unanswered",
        "1970-01-01,4,0,12,16,0,1.0,0",
    ]
    assert invoke(place, "usage", "--since", "1h") == ""


def rated_log(place) -> None:
    """Add an answer that was rated twice, the second time with words."""
    from tests.support import injuries
    from wxgptd.domain.model import events as e
    from wxgptd.domain.model.values import Rating

    log = place / "state" / "log"
    (question,) = [
        record.event.question
        for record in injuries.read(log)
        if isinstance(record.event, e.AnswerCompleted) and record.user.openid == "alice"
    ][:1]
    previous = sum(record.user.openid == "alice" for record in injuries.read(log))
    at = injuries.read(log)[-1].event.at
    rated = [
        e.AnswerRated(at=at, question=question, rating=Rating.UP),
        e.AnswerRated(at=at, question=question, rating=Rating.DOWN, words="=太长了"),
    ]
    injuries.write(log, rated, previous=previous)


def test_usage_shows_the_last_rating_of_each_answer_with_its_words(place):
    rated_log(place)
    (row,) = json.loads(invoke(place, "usage", "--feedback", "--by", "model", "--json"))
    assert (row["up"], row["down"], row["words"]) == (0, 1, ["down: =太长了"])
    text = invoke(place, "usage", "--feedback", "--by", "user")
    assert "  down: =太长了" in text.splitlines()
    head, *_ = invoke(place, "usage", "--feedback", "-o", "csv").splitlines()
    assert head == "day,answers,up,down"


def test_sessions_are_listed_by_feedback(place):
    rated_log(place)
    (session,) = json.loads(invoke(place, "sessions", "list", "--feedback", "down", "--json"))
    assert session["user"] == "alice"
    assert json.loads(invoke(place, "sessions", "list", "--feedback", "up", "--json")) == []
    assert "  rated down" in invoke(place, "sessions", "show", session["session"]).splitlines()


def test_usage_prints_a_table(place):
    head, alice, _bob, total = invoke(place, "usage", "--by", "user").splitlines()
    assert head.split() == ["user", "answers", "failed", "prompt", "completion", "cost"]
    assert alice.split() == ["main/alice", "3", "0", "9", "12", "0.7500"]
    assert total.split() == ["total", "4", "0", "12", "16", "1.0000"]


# log repair


@pytest.mark.processes
def test_repair_shows_what_it_would_save_and_then_saves_it(place):
    from tests.support.injuries import flip, injure
    from wxgptd.eventlog import segments

    log = place / "state" / "log"
    assert "no damage" in invoke(place, "log", "repair")
    injure(segments.list_segments(log)[0], flip(700))
    assert Run(place, "log", "verify").code == 5
    run = Run(place, "log", "repair", "--dry-run")
    assert "lost: event" in run.out
    assert run.code == 5
    assert "nothing was changed" in run.err
    assert Run(place, "log", "verify").code == 5
    output = invoke(place, "log", "repair")
    assert "events recovered in" in output
    assert (place / "state" / "log.damaged").is_dir()
    assert Run(place, "log", "verify").code == 0
    assert invoke(place, "replay")


@pytest.mark.processes
def test_repair_refuses_a_log_that_a_daemon_is_using(place):
    from tests.support.injuries import flip, injure
    from wxgptd.eventlog import segments

    log = place / "state" / "log"
    injure(segments.list_segments(log)[0], flip(700))
    with segments.StateLock(place / "state"):
        run = Run(place, "log", "repair")
    assert run.code == 1
    assert "is using" in run.err


# log import, backup and restore


def another_place(place, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "wxgptd.toml").write_text(CONFIG)
    (other / "wxgptd.toml").chmod(0o600)
    return other


def golden(place, version: str) -> str:
    """Replace the log with a golden one and return its export."""
    log = place / "state" / "log"
    shutil.rmtree(log)
    source = FIXTURES / version
    if (source / "keys").exists():
        shutil.copy(source / "keys" / "users", place / "state" / "keys" / "users")
        source = source / "log"
    shutil.copytree(source, log, ignore=shutil.ignore_patterns("*.ndjson"))
    return invoke(place, "log", "export")


@pytest.mark.processes
@pytest.mark.parametrize("version", ["own", "v2", "v3", "v4", "v5"])
def test_importing_an_export_recreates_the_log(place, tmp_path_factory, version):
    exported = invoke(place, "log", "export") if version == "own" else golden(place, version)
    other = another_place(place, tmp_path_factory)
    (other / "events.ndjson").write_text(exported)
    output = invoke(other, "log", "import", str(other / "events.ndjson"))
    assert f"{len(exported.splitlines()) - 1} events" in output
    assert invoke(other, "log", "export") == exported
    assert Run(other, "log", "verify").code == 0
    run = Run(other, "log", "import", str(other / "events.ndjson"))
    assert run.code == 2
    assert "already" in run.err


@pytest.mark.processes
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda lines: lines[1:], "event 1 expected, 2 found"),
        (lambda lines: [*lines[:2], *lines[3:]], "event 3 expected, 4 found"),
        (lambda lines: [*lines[:2], "{}", *lines[2:]], "line 3 is not part of an export"),
        (lambda lines: [], "the export has no events"),
        (lambda lines: ["not json"], "line 1 is not part of an export"),
        (lambda lines: ["[]"], "line 1 is not part of an export"),
        (lambda lines: [lines[0].replace('"at_s": 0.0', '"at_s": []')], "[] is not of type float"),
        (lambda lines: [lines[0].replace('"chatgpt"', "7")], "7 is not of type str"),
        (lambda lines: lines[:-1], "the export is incomplete"),
        (lambda lines: [*lines[:-2], lines[-1]], "the export is incomplete"),
    ],
)
def test_an_invalid_or_incomplete_export_leaves_no_log(place, tmp_path_factory, change, why):
    lines = invoke(place, "log", "export").splitlines()
    other = another_place(place, tmp_path_factory)
    (other / "events.ndjson").write_text("\n".join(change(lines)))
    run = Run(other, "log", "import", str(other / "events.ndjson"))
    assert run.code == 2
    assert why in run.err
    assert sorted(path.name for path in (other / "state").iterdir()) == ["keys", "lock"]
    assert list((other / "state" / "keys").iterdir()) == [], "a restore is still possible"


@pytest.mark.processes
def test_a_backup_can_be_restored_elsewhere(place, tmp_path_factory):
    output = invoke(place, "backup", str(place / "b.tar.gz"))
    assert "events up to 18 of 2 users, verified" in output
    other = another_place(place, tmp_path_factory)
    output = invoke(other, "restore", str(place / "b.tar.gz"))
    assert "verified" in output
    assert invoke(other, "log", "export") == invoke(place, "log", "export")
    assert Run(other, "restore", str(place / "b.tar.gz")).code == 2
    assert Run(place, "backup", str(place / "b.tar.gz")).code == 1
    assert (
        Run(another_place(place, tmp_path_factory), "restore", str(place / "no.tar.gz")).code == 1
    )


@pytest.mark.processes
def test_effective_values_contain_no_secrets(place):
    with (place / "wxgptd.toml").open("a") as config:
        config.write(
            'extra_body = { api_key = "canary", nested = { token = ["canary"] }, top_k = 5 }\n'
            'extra_headers = { X-Key = "canary" }\n'
            '[[rule]]\nmatch = "any"\nforward = "https://old.example.org/wx?key=canary"\n'
        )
    for output in ("text", "json"):
        run = Run(place, "check", "--effective", "-o", output)
        assert "canary" not in run.out
        assert "top_k" in run.out


@pytest.mark.processes
def test_colour_is_used_only_on_a_terminal_or_on_request(place):
    assert "\x1b[" not in Run(place, "tail").out
    assert "\x1b[" in Run(place, "--color", "always", "tail").out
    assert "\x1b[" in Run(place, "tail", environ={"CLICOLOR_FORCE": "1"}).out
    assert "\x1b[" not in Run(place, "tail", environ={"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}).out


@pytest.mark.processes
def test_command_line_options_override_the_environment(place):
    environ = {"WXGPT_TAIL_OUTPUT": "ndjson"}
    assert Run(place, "tail", environ=environ).out.startswith("{")
    assert not Run(place, "tail", "-o", "text", environ=environ).out.startswith("{")


@pytest.mark.processes
def test_shell_completion_offers_kinds_accounts_and_commands(place):
    def completions(words: str) -> list[str]:
        environ = {
            **os.environ, "_WXGPT_COMPLETE": "bash_complete", "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")), "WXGPT_CONFIG": str(place / "wxgptd.toml"),
        }  # fmt: skip
        result = subprocess.run(
            [sys.executable, "-m", "wxgpt"], env=environ, capture_output=True, text=True
        )
        return [line.split(",", 1)[1] for line in result.stdout.split()]

    assert "tail" in completions("wxgpt ta")
    assert completions("wxgpt tail --kind QuestionAsked,An") == [
        f"QuestionAsked,{kind}"
        for kind in ("AnswerCompleted", "AnswerFailed", "AnswerRated", "AnswerRestarted")
    ]
    assert completions("wxgpt tail --account m") == ["main"]
    assert completions("wxgpt tail --session x") == []  # no daemon to ask


@pytest.mark.processes
def test_a_misspelt_command_gets_a_suggestion(place):
    run = Run(place, "statsu")
    assert run.code == 2
    assert "did you mean status?" in run.err
