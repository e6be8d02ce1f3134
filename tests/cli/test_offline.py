"""The commands that only read the log and the configuration."""

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


class Ran:
    def __init__(self, place, *arguments, environ=None):
        command = [
            sys.executable,
            "-m",
            "wxgpt",
            "--config",
            str(place / "wxgptd.toml"),
            *arguments,
        ]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", env={**os.environ, **(environ or {})}
        )
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


def invoked(place, *arguments) -> str:
    result = CliRunner().invoke(cli, ["--config", str(place / "wxgptd.toml"), *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


# tail


def test_tail_shows_the_last_events_as_lines(place):
    said = invoked(place, "tail", "-n", "3", "--utc").splitlines()
    assert len(said) == 3
    assert said[0].split() == [
        "16",
        "01-01",
        "00:00:00",
        "main/bob",
        "s1",
        "asked",
        "问题",
        "0：为什么？",
    ]
    assert "answered" in said[1]
    assert "(1.5 s, chatgpt) 因为第 0 个原因。" in said[1]


def test_tail_shows_twenty_lines_by_default_and_everything_as_ndjson(place):
    write(place / "state" / "log", conversation(8), user=User("main", "carol"))
    assert len(invoked(place, "tail").splitlines()) == 20
    assert len(invoked(place, "tail", "-o", "ndjson").splitlines()) > 20


def test_tail_s_json_has_what_scripts_rely_on(place):
    (first, *_) = json.loads(invoked(place, "tail", "--json"))
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
        (["--session", "nobody"], 0),
        (["--account", "other"], 0),
        (["--grep", "问题 2"], 1),
        (["--after", "16"], 2),
        (["--since", "@2"], 3),
        (["--until", "@0.5", "--user", "alice"], 5),
        (["--since", "1970-01-01T08:00:02"], 3),
    ],
)
def test_tail_s_filters_narrow_and_commas_widen(place, filters, count):
    assert len(invoked(place, "tail", "-o", "ndjson", *filters).splitlines()) == count


@pytest.mark.parametrize(
    ("chosen", "count", "begin"),
    [
        ({}, None, 0),
        ({}, 1, 17),
        ({"after": 60_000}, None, 60_000),
        ({"after": 60_000}, 1, 60_000),
        ({"after": 6, "grep": frozenset({"天"})}, None, 6),
        ({"after": 6, "since": 1.0}, 1, 6),
        ({"after": 6, "users": frozenset({"alice"})}, 1, 0),
    ],
)
def test_tail_reads_what_it_shows_and_no_more_unless_it_searches(place, chosen, count, begin):
    nobody = frozenset()
    everything = {
        "users": nobody, "sessions": nobody, "kinds": nobody, "accounts": nobody, "grep": nobody,
        "after": 0, "since": None, "until": None,
    }  # fmt: skip
    wanted = tail.Filter(**{**everything, **chosen})
    assert tail._begin(place / "state" / "log", wanted, count) == begin


def test_tail_can_be_read_backwards(place):
    seqs = [
        json.loads(line)["seq"]
        for line in invoked(place, "tail", "-r", "-o", "ndjson").splitlines()
    ]
    assert seqs == list(range(18, 0, -1))


def test_tail_resumes_from_its_cursor(place):
    cursor = str(place / "seen")
    first = invoked(place, "tail", "-o", "ndjson", "--cursor-file", cursor, "--until", "@0.7")
    second = invoked(place, "tail", "-o", "ndjson", "--cursor-file", cursor)
    assert first
    assert invoked(place, "tail", "-o", "ndjson", "--cursor-file", cursor) == ""
    assert (place / "seen").read_text() == "18\n"
    assert not set(first.splitlines()) & set(second.splitlines())


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tail", "--kind", "Nonsense"], "kinds: SessionOpened"),
        (["tail", "--since", "soon"], "10m, 2h, 3d, yesterday"),
        (["tail", "--since", "99999999999d"], "10m, 2h, 3d, yesterday"),
        (["tail", "-f", "-r"], "mutually exclusive"),
        (["replay", "--until", "²"], "neither an event number nor a time"),
        (["replay", "--speed", "fast", "--to", "http://127.0.0.1:1/"], "is not a speed"),
        (["replay", "--to", "http://[::1"], "not a URL to deliver to"),
        (["sessions", "show", "nobody"], "sessions list --all"),
        (["send"], "give exactly one of"),
        (["send", "--url", "foo", "hi"], "not a URL to deliver to"),
        (["send", "--encrypt", "hi"], "no aes_key"),
        (["send", "--account", "other", "hi"], "accounts: main"),
        (["send", "--expect", "(", "hi"], "not a valid regular expression"),
        (["tial"], "did you mean tail?"),
        (["tail", "--colour"], "no such option"),
    ],
)
def test_a_wrong_call_says_what_would_be_right(place, arguments, said):
    ran = Ran(place, *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["tail", "--cursor-file", "/nonexistent/x"], 1), (["tail", "--cursor-file", "/tmp"], 1)],
)
def test_a_file_that_cannot_be_had_is_named(place, arguments, code):
    ran = Ran(place, *arguments)
    assert ran.code == code
    assert arguments[-1] in ran.err
    assert "bug in wxgpt" not in ran.err


@pytest.mark.processes
def test_a_closed_pipe_is_silent(place):
    command = f"{sys.executable} -m wxgpt --config {place}/wxgptd.toml tail -o ndjson | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.processes
def test_a_terminal_that_cannot_show_chinese_is_no_reason_to_fail(place):
    ran = Ran(place, "tail", environ={"PYTHONIOENCODING": "latin-1"})
    assert ran.code == 0, ran.err


# Other looks at the log.


def test_replay_shows_the_state_at_any_time(place):
    state = json.loads(invoked(place, "replay", "--until", "3", "--json"))
    (alice,) = state["users"]
    assert state["seq"] == 3
    assert alice["unanswered"] == []
    state = json.loads(invoked(place, "replay", "--until", "4", "--json"))
    (alice,) = state["users"]
    assert alice["unanswered"] == ["q0"]
    assert alice["open_windows"] == [{"delivery": "q0", "attempts": 1}]
    assert alice["session"]["context"] == [
        {"role": "system", "content": "你是助手"},
        {"role": "user", "content": "问题 0：为什么？"},
    ]
    state = json.loads(invoked(place, "replay", "--user", "alice", "--json"))
    roles = [one["role"] for one in state["users"][0]["session"]["context"]]
    assert roles == ["system", *["user", "assistant"] * 3]
    assert "after event 18" in invoked(place, "replay")


def test_replay_reads_as_a_conversation(place):
    said = invoked(place, "replay", "--as-conversation", "--user", "alice")
    assert said.count("user\n") == 3
    assert "+1.5 s  m-1" in said
    assert "    因为第 2 个原因。" in said


def test_sessions_are_listed_and_shown(place):
    (alice, bob) = json.loads(invoked(place, "sessions", "list", "--json"))
    assert (alice["user"], alice["questions"], alice["closed"]) == ("alice", 3, None)
    assert bob["user"] == "bob"
    assert "alice" in invoked(place, "sessions", "list")
    shown = json.loads(invoked(place, "sessions", "show", "s1", "--json"))
    assert [turn["state"] for turn in shown["turns"]] == ["completed"] * 3


def test_the_log_is_counted_verified_and_exported(place):
    assert invoked(place, "log", "stat").splitlines()[-1].endswith("18 events")
    assert invoked(place, "log", "verify") == "ok: 2 segments, events 1 to 18\n"
    stat = json.loads(invoked(place, "log", "stat", "--json"))
    assert [one["ends"] for one in stat] == ["sealed", "sealed"]
    assert len(invoked(place, "log", "export").splitlines()) == 18 + 1


@pytest.mark.processes
def test_damage_is_reported_with_its_place_and_a_torn_tail_is_none(place):
    log = place / "state" / "log"
    first, last = sorted(log.glob("*.wxlog"))
    torn = last.read_bytes()[:-30]
    last.write_bytes(torn)
    ran = Ran(place, "log", "verify")
    assert ran.code == 0
    assert "torn" in ran.err
    last.write_bytes(b"WXGP")
    assert Ran(place, "log", "verify").code == 0
    injuries.injure(first, injuries.flip(100))
    ran = Ran(place, "log", "verify")
    assert ran.code == 5
    assert f"{first.name}: byte " in ran.out
    assert Ran(place, "tail").code == 5


@pytest.mark.processes
def test_no_log_yet_is_told_as_such(tmp_path):
    config = tmp_path / "wxgptd.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)
    ran = Ran(tmp_path, "tail")
    assert ran.code == 2
    assert "has the daemon run" in ran.err


@pytest.mark.processes
def test_without_a_configuration_it_says_where_one_is_looked_for(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "wxgpt", "tail"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "WXGPT_CONFIG"},
    )
    assert done.returncode == 4
    assert "wxgpt demo" in done.stderr


@pytest.mark.processes
def test_an_event_of_a_newer_version_is_shown_and_passed_over(place):
    from wxgptd.eventlog import codec

    log = place / "state" / "log"
    from tests.support.injuries import segments
    from wxgptd.eventlog import framing

    payload = codec.join(1, [codec.pack([(999, 1, 5.0, "main:alice", 12, b"\x91\xa0", b"")])])
    path = log / segments.segment_name(19)
    header = framing.Header(19, 0.0, 7)
    path.write_bytes(framing.pack_header(header) + framing.pack_frame(7, 19, 1, payload))
    assert "written by a newer wxgptd" in invoked(place, "tail", "-n", "1")
    ran = Ran(place, "replay")
    assert ran.code == 5
    assert "install that version" in ran.err


# check


def test_check_lists_what_the_configuration_makes(place):
    said = invoked(place, "check")
    assert "account main: /wx/main, plain text" in said
    assert "assistant chatgpt: /chatgpt asks m" in said


@pytest.mark.processes
def test_check_warns_of_what_is_hardly_meant(place):
    (place / "wxgptd.toml").write_text(CONFIG.replace("token123", "changeThisToken"))
    ran = Ran(place, "check")
    assert ran.code == 0
    for warning in ("no phone can open", "from the example", "in plain text"):
        assert warning in ran.err


@pytest.mark.processes
def test_check_lists_every_mistake(place):
    (place / "wxgptd.toml").write_text(
        CONFIG.replace("token", "tokn").replace("model =", "modle =")
    )
    ran = Ran(place, "check")
    assert ran.code == 4
    assert "account.main.tokn" in ran.err
    assert "did you mean `model`" in ran.err
    assert "4 errors" in ran.err


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
def test_times_are_taken_in_every_form(text, at):
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
def test_chinese_takes_two_columns_and_is_never_halved(text, width, shown):
    assert render.shorten(text, width) == shown
    assert render.columns(render.pad(text, width)) == width


# What is loaded.

HEAVY = ("twisted", "treq", "wechatpy", "rich", "jinja2", "prometheus_client")


@pytest.mark.processes
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["tail"], ["tail", "--help"], ["sessions", "list"], ["log", "stat"], ["replay"]],
)
def test_what_only_reads_the_log_loads_nothing_heavy(place, arguments):
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
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stderr


def test_every_command_s_help_begins_with_examples():
    from wxgpt.main import COMMANDS

    for name in COMMANDS:
        said = CliRunner().invoke(cli, [name, "--help"]).output
        assert said.index("Examples:") < said.index("Options:"), name
    for group, names in {
        "sessions": ("list", "show", "stop"),
        "log": ("stat", "verify", "export"),
    }.items():
        for name in names:
            said = CliRunner().invoke(cli, [group, name, "--help"]).output
            assert said.index("Examples:") < said.index("Options:"), name


def test_the_help_of_tail_names_every_kind():
    from wxgptd.eventlog.codec import KINDS

    said = " ".join(CliRunner().invoke(cli, ["tail", "--help"]).output.split())
    assert all(kind in said for kind in KINDS)


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
    ("asked", "lines"),
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
                "first: the next part of an answer, if this user has one with more; otherwise",
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
def test_check_says_who_would_take_a_message(place, asked, lines):
    path = place / "wxgptd.toml"
    path.write_text(path.read_text() + RULES)
    assert invoked(place, "check", *asked).splitlines() == lines


# init --rotate-aes-key


OLD_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


def safe(place, key: str = OLD_KEY):
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
def test_a_key_is_changed_with_the_former_one_beside_it(place):
    path = safe(place)
    said = invoked(place, "init", "--rotate-aes-key")
    now = account(path)
    assert now.previous_aes_key.reveal() == OLD_KEY
    assert now.aes_key.reveal() != OLD_KEY
    assert now.aes_key.reveal() in said
    assert "# mine" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    assert Ran(place, "init", "--rotate-aes-key").code == 2
    invoked(place, "init", "--rotate-aes-key", "--finish")
    assert account(path).previous_aes_key.reveal() == ""
    assert account(path).aes_key == now.aes_key
    assert Ran(place, "init", "--rotate-aes-key", "--finish").code == 2
    assert [one.name for one in place.iterdir() if ".new" in one.name] == []


def test_a_configuration_behind_a_link_is_changed_where_it_is(place):
    path = safe(place)
    path.rename(place / "real.toml")
    path.symlink_to("real.toml")
    invoked(place, "init", "--rotate-aes-key")
    assert path.is_symlink()
    assert account(place / "real.toml").previous_aes_key.reveal() == OLD_KEY


def test_a_key_in_a_file_of_its_own_is_changed_there(place):
    (place / "aes").write_text(OLD_KEY)
    (place / "aes").chmod(0o600)
    path = safe(place, "file:aes")
    said = invoked(place, "init", "--rotate-aes-key")
    now = account(path)
    assert now.previous_aes_key.reveal() == OLD_KEY
    assert now.aes_key.reveal() in said
    assert (place / "aes.previous").stat().st_mode & 0o777 == 0o600
    invoked(place, "init", "--rotate-aes-key", "--finish")
    assert not (place / "aes.previous").exists()


@pytest.mark.processes
def test_a_key_that_is_elsewhere_is_left_to_the_operator(place):
    path = safe(place, "env:AES")
    before = path.read_text()
    ran = Ran(place, "init", "--rotate-aes-key", environ={"AES": OLD_KEY})
    assert ran.code == 2
    assert "previous_aes_key" in ran.err
    assert path.read_text() == before


@pytest.mark.processes
def test_without_a_key_there_is_none_to_change(place):
    ran = Ran(place, "init", "--rotate-aes-key")
    assert ran.code == 2
    assert "plain text mode" in ran.err


# usage


def test_usage_is_counted_by_day_user_assistant_and_model(place):
    rows = json.loads(invoked(place, "usage", "--by", "user", "--json"))
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
    (row,) = json.loads(invoked(place, "usage", "--by", "assistant", "--json"))
    assert (row["assistant"], row["answers"]) == ("chatgpt", 4)
    (row,) = json.loads(invoked(place, "usage", "--by", "model", "--json"))
    assert row["model"] == "m-1"
    assert invoked(place, "usage", "-o", "csv").splitlines() == [
        "day,answers,failures,prompt_tokens,completion_tokens,estimated_tokens,cost,unanswered",
        "1970-01-01,4,0,12,16,0,1.0,0",
    ]
    assert invoked(place, "usage", "--since", "1h") == ""


def test_usage_reads_well(place):
    head, alice, _bob, total = invoked(place, "usage", "--by", "user").splitlines()
    assert head.split() == ["user", "answers", "failed", "prompt", "completion", "cost"]
    assert alice.split() == ["main/alice", "3", "0", "9", "12", "0.7500"]
    assert total.split() == ["total", "4", "0", "12", "16", "1.0000"]


# log repair


@pytest.mark.processes
def test_repair_says_what_it_would_save_and_then_saves_it(place):
    from tests.support.injuries import flip, injure
    from wxgptd.eventlog import segments

    log = place / "state" / "log"
    whole = invoked(place, "log", "repair")
    assert "no damage" in whole
    injure(segments.list_segments(log)[0], flip(700))
    assert Ran(place, "log", "verify").code == 5
    ran = Ran(place, "log", "repair", "--dry-run")
    assert "lost: event" in ran.out
    assert ran.code == 5
    assert "nothing was changed" in ran.err
    assert Ran(place, "log", "verify").code == 5
    said = invoked(place, "log", "repair")
    assert "events recovered in" in said
    assert (place / "state" / "log.damaged").is_dir()
    assert Ran(place, "log", "verify").code == 0
    assert invoked(place, "replay")


@pytest.mark.processes
def test_repair_leaves_a_log_alone_that_a_daemon_uses(place):
    from tests.support.injuries import flip, injure
    from wxgptd.eventlog import segments

    log = place / "state" / "log"
    injure(segments.list_segments(log)[0], flip(700))
    with segments.StateLock(place / "state"):
        ran = Ran(place, "log", "repair")
    assert ran.code == 1
    assert "is using" in ran.err


# log import, backup and restore


def elsewhere(place, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "wxgptd.toml").write_text(CONFIG)
    (other / "wxgptd.toml").chmod(0o600)
    return other


def golden(place, version: str) -> str:
    """Put a golden log in place, and return its export."""
    log = place / "state" / "log"
    shutil.rmtree(log)
    kept = FIXTURES / version
    if (kept / "keys").exists():
        shutil.copy(kept / "keys" / "users", place / "state" / "keys" / "users")
        kept = kept / "log"
    shutil.copytree(kept, log, ignore=shutil.ignore_patterns("*.ndjson"))
    return invoked(place, "log", "export")


@pytest.mark.processes
@pytest.mark.parametrize("version", ["own", "v2", "v3", "v4", "v5"])
def test_an_export_makes_the_log_again(place, tmp_path_factory, version):
    exported = invoked(place, "log", "export") if version == "own" else golden(place, version)
    other = elsewhere(place, tmp_path_factory)
    (other / "events.ndjson").write_text(exported)
    said = invoked(other, "log", "import", str(other / "events.ndjson"))
    assert f"{len(exported.splitlines()) - 1} events" in said
    assert invoked(other, "log", "export") == exported
    assert Ran(other, "log", "verify").code == 0
    ran = Ran(other, "log", "import", str(other / "events.ndjson"))
    assert ran.code == 2
    assert "already" in ran.err


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
def test_what_is_no_whole_export_leaves_no_log(place, tmp_path_factory, change, why):
    lines = invoked(place, "log", "export").splitlines()
    other = elsewhere(place, tmp_path_factory)
    (other / "events.ndjson").write_text("\n".join(change(lines)))
    ran = Ran(other, "log", "import", str(other / "events.ndjson"))
    assert ran.code == 2
    assert why in ran.err
    assert sorted(path.name for path in (other / "state").iterdir()) == ["keys", "lock"]
    assert list((other / "state" / "keys").iterdir()) == [], "a restore is still possible"


@pytest.mark.processes
def test_a_backup_is_restored_elsewhere(place, tmp_path_factory):
    said = invoked(place, "backup", str(place / "b.tar.gz"))
    assert "events up to 18 of 2 users, verified" in said
    other = elsewhere(place, tmp_path_factory)
    said = invoked(other, "restore", str(place / "b.tar.gz"))
    assert "verified" in said
    assert invoked(other, "log", "export") == invoked(place, "log", "export")
    assert Ran(other, "restore", str(place / "b.tar.gz")).code == 2
    assert Ran(place, "backup", str(place / "b.tar.gz")).code == 1
    assert Ran(elsewhere(place, tmp_path_factory), "restore", str(place / "no.tar.gz")).code == 1


@pytest.mark.processes
def test_effective_values_have_no_secret_in_them_wherever_it_is_hidden(place):
    with (place / "wxgptd.toml").open("a") as config:
        config.write(
            'extra_body = { api_key = "canary", nested = { token = ["canary"] }, top_k = 5 }\n'
            'extra_headers = { X-Key = "canary" }\n'
            '[[rule]]\nmatch = "any"\nforward = "https://old.example.org/wx?key=canary"\n'
        )
    for output in ("text", "json"):
        done = Ran(place, "check", "--effective", "-o", output)
        assert "canary" not in done.out
        assert "top_k" in done.out


@pytest.mark.processes
def test_colour_is_for_terminals_and_for_those_who_ask(place):
    assert "\x1b[" not in Ran(place, "tail").out
    assert "\x1b[" in Ran(place, "--color", "always", "tail").out
    assert "\x1b[" in Ran(place, "tail", environ={"CLICOLOR_FORCE": "1"}).out
    assert "\x1b[" not in Ran(place, "tail", environ={"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}).out


@pytest.mark.processes
def test_an_option_may_come_from_the_environment_and_the_command_line_goes_before(place):
    environ = {"WXGPT_TAIL_OUTPUT": "ndjson"}
    assert Ran(place, "tail", environ=environ).out.startswith("{")
    assert not Ran(place, "tail", "-o", "text", environ=environ).out.startswith("{")


@pytest.mark.processes
def test_a_shell_is_offered_kinds_accounts_and_commands(place):
    def offered(words: str) -> list[str]:
        environ = {
            **os.environ, "_WXGPT_COMPLETE": "bash_complete", "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")), "WXGPT_CONFIG": str(place / "wxgptd.toml"),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "wxgpt"], env=environ, capture_output=True, text=True
        )
        return [line.split(",", 1)[1] for line in done.stdout.split()]

    assert "tail" in offered("wxgpt ta")
    assert offered("wxgpt tail --kind QuestionAsked,An") == [
        f"QuestionAsked,{kind}" for kind in ("AnswerCompleted", "AnswerFailed", "AnswerRestarted")
    ]
    assert offered("wxgpt tail --account m") == ["main"]
    assert offered("wxgpt tail --session x") == []  # no daemon to ask


@pytest.mark.processes
def test_a_command_that_is_nearly_one_is_guessed(place):
    done = Ran(place, "statsu")
    assert done.code == 2
    assert "did you mean status?" in done.err
