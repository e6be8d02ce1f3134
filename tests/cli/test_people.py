"""People instead of identifiers: names, beginnings of identifiers, chats, documents, machines."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.cli.test_offline import place as offline_place
from tests.support.injuries import conversation, write
from wxgpt import contexts, matching
from wxgpt.log import dialogues, rendering
from wxgpt.main import cli
from wxgptd.domain.model.values import User

place = offline_place


def invoke(place, *arguments):
    return CliRunner().invoke(cli, ["--config", str(place / "wxgptd.toml"), *arguments])


# Beginnings.


def test_a_beginning_is_enough_where_it_is_unique():
    assert matching.only("o6_b", ["o6_bmj", "o6_cde"]) == "o6_bmj"
    assert matching.only("s1", ["s1", "s12"]) == "s1", "a whole one is never ambiguous"
    assert matching.only("x", ["s1"]) is None
    with pytest.raises(matching.NotUnique, match="2 identifiers begin with o6") as raised:
        matching.only("o6", ["o6_bmj", "o6_cde"])
    assert raised.value.hint.split()[-2:] == ["o6_bmj", "o6_cde"]
    assert raised.value.exit_status == 1
    with pytest.raises(matching.NotUnique) as raised:
        matching.only("u", [f"u{n:02}" for n in range(12)])
    assert raised.value.hint.endswith("u09 and 2 more")


def test_tail_takes_the_beginning_of_a_user_or_a_session(place):
    whole = invoke(place, "tail", "--user", "alice", "-o", "ndjson").stdout
    assert whole
    assert invoke(place, "tail", "--user", "al", "-o", "ndjson").stdout == whole
    assert invoke(place, "tail", "--user", "main/al", "-o", "ndjson").stdout == whole
    assert len(invoke(place, "tail", "--session", "s").stdout.splitlines()) > 1


def test_tail_lists_the_users_that_a_beginning_can_mean(place):
    write(place / "state" / "log", conversation(1), user=User("main", "alfred"))
    result = invoke(place, "tail", "--user", "al")
    assert isinstance(result.exception, matching.NotUnique)
    assert result.exception.hint.split()[-2:] == ["main/alfred", "main/alice"]
    result = invoke(place, "tail", "--user", "zoe")
    assert result.exception.exit_status == 1


def test_sessions_are_found_by_their_beginning(place):
    assert "问题 0" in invoke(place, "sessions", "show", "s").stdout
    unknown = invoke(place, "sessions", "show", "x9").exception
    assert (str(unknown), unknown.exit_status) == ("no session x9 in the log", 1)


# How it looks.


def test_tail_fits_eighty_columns_and_shows_more_if_asked(place):
    line = invoke(place, "tail", "-n", "1").stdout.splitlines()[0]
    assert not re.match(r" +\d+  ", line)
    wide = invoke(place, "tail", "-n", "1", "--wide").stdout.splitlines()[0]
    assert re.match(r" +\d+  01-01 08:00:0\d  main/bob", wide)


def test_the_day_is_shown_unless_it_is_today():
    assert rendering.when(1.8e9 - 60, utc=True, now=1.8e9) == "07:59:00"
    assert rendering.when(1.8e9 - 86_400, utc=True, now=1.8e9) == "01-14 08:00"
    assert rendering.when(1.8e9 - 365 * 86_400, utc=True, now=1.8e9) == "01-15 08:00"


def test_a_chat_has_questions_on_the_left_and_answers_on_the_right(place):
    lines = invoke(place, "tail", "--chat", "--user", "alice").stdout.splitlines()
    question = next(line for line in lines if "问题 0" in line)
    answer = next(line for line in lines if "因为第 0" in line)
    assert question.startswith("│ ")
    assert answer.startswith("   ")
    assert answer.endswith("│")


def test_a_session_is_written_as_a_page_without_what_a_model_could_smuggle_in(place):
    wicked = "<script>alert(1)</script>**粗** <img src=x onerror=alert(1)>"
    events = [
        dataclasses.replace(event, text=wicked) if hasattr(event, "text") else event
        for event in conversation(1)
    ]
    events = [
        dataclasses.replace(event, session="w1") if hasattr(event, "session") else event
        for event in events
    ]
    write(place / "state" / "log", events, user=User("main", "eve"))
    page = invoke(place, "sessions", "show", "w1", "-o", "html").stdout
    assert page.startswith("<!doctype html>")
    assert "<strong>粗</strong>" in page
    assert "<script" not in page
    assert "<img" not in page
    document = invoke(place, "sessions", "show", "s", "-o", "md").stdout
    assert "> 问题 0" in document


def test_all_conversations_are_searched(place):
    found = invoke(place, "sessions", "search", "原因", "第 1").stdout
    assert "因为第 1 个原因" in found
    assert "第 0 个" not in found
    nothing = invoke(place, "sessions", "search", "不存在的词")
    assert (nothing.stdout, nothing.exit_code) == ("", 0)


@pytest.mark.parametrize("word", ["asked", "QuestionAsked", "question_asked", "ASKED"])
def test_kinds_are_the_words_that_are_shown(place, word):
    lines = invoke(place, "tail", "--kind", word).stdout.splitlines()
    assert lines
    assert all("asked" in line for line in lines)


# Other machines.


@pytest.fixture
def home(tmp_path):
    """Return the environment of a user whose ssh prints its arguments and exits with 7."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    ssh.chmod(0o700)
    environ = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "WXGPT_LANG": "en"}
    return {**environ, "PATH": f"{ssh.parent}:{os.environ['PATH']}"}


def wxgpt(home, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "wxgpt", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=home,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.processes
def test_a_command_runs_on_another_machine(home):
    added = wxgpt(home, "context", "add", "prod", "root@host", "--command", "sudo wxgpt")
    assert added.returncode == 0, added.stderr
    assert "root@host" in wxgpt(home, "context", "list").stdout
    done = wxgpt(home, "--on", "prod", "tail", "-f", "--grep", "it's 你好; rm -rf /")
    terminal, host, command = done.stdout.splitlines()
    assert (terminal, host, done.returncode) == ("-T", "root@host", 7)
    assert command == "sudo wxgpt --lang en tail -f --grep 'it'\"'\"'s 你好; rm -rf /'"
    assert wxgpt(home, "context", "remove", "prod").returncode == 0
    unknown = wxgpt(home, "--on=prod", "status")
    assert (unknown.returncode, "no such machine: prod" in unknown.stderr) == (2, True)


@pytest.mark.processes
def test_a_destination_is_not_taken_as_an_option_of_ssh(home):
    refused = wxgpt(home, "context", "add", "--", "x", "-oProxyCommand=touch /tmp/x")
    assert refused.returncode == 2
    assert "is not a destination" in refused.stderr


def test_the_options_for_this_machine_are_left_out():
    given = ["--on", "a", "--lang=zh", "--config", "x", "send", "--", "--on", "--lang"]
    assert contexts.without_on(given) == ["--config", "x", "send", "--", "--on", "--lang"]


def test_a_session_is_found_by_its_beginning_or_by_its_user(place):
    whole = invoke(place, "sessions", "show", "s1").stdout
    assert whole
    for given in ("s", "alice", "al", "main/alice"):
        assert invoke(place, "sessions", "show", given).stdout == whole, given
    assert invoke(place, "sessions", "show").stdout == whole, "the newest"
    unknown = invoke(place, "sessions", "show", "zoe")
    assert isinstance(unknown.exception, dialogues.UnknownSession)
    assert unknown.exception.exit_status == 1


def test_comments_in_the_list_of_machines_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    contexts.change("a", contexts.Context("root@a"))
    file = contexts.path()
    file.write_text(f"# mine\n{file.read_text()}\n# about b\n[b]\nssh = 'root@b' # here\n\n# end\n")
    contexts.change("b", contexts.Context("root@b", "sudo wxgpt"))
    contexts.change("a", contexts.Context("root@c"))
    assert contexts.read() == {
        "a": contexts.Context("root@c"), "b": contexts.Context("root@b", "sudo wxgpt")
    }  # fmt: skip
    contexts.change("a", None)
    left = '# mine\n\n# about b\n[b]\nssh = "root@b" # here\ncommand = "sudo wxgpt"\n\n# end\n'
    assert file.read_text() == left


@pytest.mark.parametrize(
    "text", ["b.ssh = 'root@b'\n", "b = { ssh = 'root@b' }\n", "[b]\nssh = 'x'\n"]
)
def test_a_machine_is_removed_however_it_was_written(text, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    contexts.path().parent.mkdir()
    contexts.path().write_text(f"{text}# left\n[c]\nssh = 'root@c'\n")
    contexts.change("b", None)
    assert contexts.read() == {"c": contexts.Context("root@c")}
    assert "# left" in contexts.path().read_text()
