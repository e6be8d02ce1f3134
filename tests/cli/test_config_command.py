"""`wxgpt config`: values are read and changed, comments stay, secrets stay secret."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.terminal import converse
from wxgpt.failures import UsageFailure
from wxgpt.setup import editing, one_key
from wxgptd import config as cfg

TEXT = """\
# 我的配置 my comment
[server]
public_url = "https://chat.example.org"
state_dir = "state"
[account.main]   # the account
token = "canarytoken"
[assistant.chatgpt]
base_url = "https://api.deepseek.com"
api_key = "sk-canary"   # from the site
model = "m"
"""
ENVIRON = {k: v for k, v in os.environ.items() if not k.startswith(("WXGPT_", "COV"))}


@pytest.fixture
def place(tmp_path):
    path = tmp_path / "wxgptd.toml"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def run(place, *arguments, given="", **environ):
    return subprocess.run(
        [sys.executable, "-m", "wxgpt", "--config", str(place), "config", *arguments],
        input=given,
        capture_output=True,
        encoding="utf-8",
        env={**ENVIRON, **environ},
        check=False,
    )


def configured(place):
    return cfg.load(place)


@pytest.mark.processes
def test_a_value_is_set_and_the_comments_stay(place):
    done = run(place, "set", "session.ttl", "10m", "-y")
    assert done.returncode == 0, done.stderr
    assert '+ttl = "10m"' in done.stdout
    assert "canary" not in done.stdout + done.stderr
    assert place.read_text() == f'{TEXT}\n[session]\nttl = "10m"\n'
    assert place.stat().st_mode & 0o777 == 0o600
    assert configured(place).session.ttl == 600


@pytest.mark.parametrize(
    ("before", "key", "after"),
    [
        ("", "session.ttl", "[session]\nttl = 3\n"),
        ("# a\n", "session.ttl", "# a\n\n[session]\nttl = 3\n"),
        ("[a]\nx = 1\n\n# b\n[b]\n", "a.ttl", "[a]\nx = 1\nttl = 3\n\n# b\n[b]\n"),
        ("[a]\n# x\n[b]\ny = 1\n", "b.ttl", "[a]\n# x\n[b]\ny = 1\nttl = 3\n"),
        ("[a.x]\n# l\n[l]\n[a.y]\n", "a.z.ttl", "[a.x]\n# l\n[l]\n[a.y]\n\n[a.z]\nttl = 3\n"),
        ("[a]\nx = 1\n\n# s\n[a.b]\n", "a.ttl", "[a]\nx = 1\nttl = 3\n\n# s\n[a.b]\n"),
        ("[a]\n# x\n\n# l\n[l]\n", "a.ttl", "[a]\nttl = 3\n# x\n\n# l\n[l]\n"),
        (
            "[ a ] # h\nx = [\n1,\n[2],\n]\n# l\n[l]\n",
            "a.ttl",
            "[ a ] # h\nx = [\n1,\n[2],\n]\nttl = 3\n# l\n[l]\n",
        ),
        ('[a]\nx = """\n[b]\n"""\n[b]\n', "b.ttl", '[a]\nx = """\n[b]\n"""\n[b]\nttl = 3\n'),
        ("[a]\nx = 1\n[l]\n[a.y]\n", "a.ttl", "[a]\nx = 1\nttl = 3\n[l]\n[a.y]\n"),
        ("a = { x = 1 }\n", "a.ttl", "a = { x = 1, ttl = 3}\n"),
        ("a.x = 1\n# l\n[l]\n", "a.ttl", "a.x = 1\na.ttl = 3\n# l\n[l]\n"),
    ],
)
def test_a_comment_stays_above_what_it_is_about(before, key, after):
    assert one_key.with_value(before, key, 3) == after


DOTTED = 'a.x = { y = 1 } # keep\na.key = "k"\nb.ttl = "30m"\n'
SPLIT = "[a.t]\nx = 1\n[a]\nm = 1\n# about s\n[s]\ny = 1\n"


@pytest.mark.parametrize(
    ("before", "key", "value", "after"),
    [
        (DOTTED, "a.x", {"y": 2}, DOTTED.replace("{ y = 1 }", "{y = 2}")),
        (DOTTED, "b.max", 5, f"{DOTTED}b.max = 5\n"),
        ("[a]\np = { x = 1 } # cny\n# s\n[s]\n", "a.p", {"x": 2},
         "[a]\np = {x = 2} # cny\n# s\n[s]\n"),
        ("[a]\nm = 1\n# s\n[s]\n", "a.p", {"x": 2}, "[a]\nm = 1\np = {x = 2}\n# s\n[s]\n"),
        (SPLIT, "a.n", 2, SPLIT.replace("m = 1\n", "m = 1\nn = 2\n")),
        ("[a]\n# hello\n#w = 1\n# other\n#o = 2\n[s]\n", "a.w", 5,
         "[a]\n# hello\n#w = 1\nw = 5\n# other\n#o = 2\n[s]\n"),
    ],
)  # fmt: skip
def test_setting_a_value_changes_nothing_else(before, key, value, after):
    assert one_key.with_value(before, key, value) == after


@pytest.mark.parametrize(
    ("before", "key", "after"),
    [
        ("[a]\nx = 1 # one\n# y\ny = 2\n", "a.x", "[a]\n# y\ny = 2\n"),
        ("[a]\nx = [\n1, # one\n2,\n]\n# y\ny = 2\n", "a.x", "[a]\n# y\ny = 2\n"),
        ("[a.p]\nx = 1\n# s\n[s]\ny = 1\n", "a.p", "# s\n[s]\ny = 1\n"),
        (SPLIT, "a.m", SPLIT.replace("m = 1\n", "")),
        (DOTTED, "b.ttl", DOTTED.replace('b.ttl = "30m"\n', "")),
        ('[a]\nx = """\nx = 2\n"""\ny = 1\n', "a.x", "[a]\ny = 1\n"),
    ],
)
def test_removing_a_value_changes_nothing_else(before, key, after):
    assert one_key.without(before, key) == after


@given(st.lists(st.sampled_from(["[a]", "[a.b]", "[s]", "# c", "x = 1", "y = { z = 1 }", "",
                                 "#x = 2", "b.q = 3", 't = """\n[a]\n"""', "l = [\n[1],\n]"]),
                max_size=12),
       st.sampled_from(["a.x", "a.y", "a.b.q", "s.new", "a.b", "s.x"]))  # fmt: skip
def test_any_change_is_that_change_alone_or_none(lines, key):
    before = "".join(f"{line}\n" for line in lines)
    try:
        meaning = tomllib.loads(before)
    except tomllib.TOMLDecodeError:
        return
    comments = sorted(line for line in before.splitlines() if line.startswith("#"))
    with contextlib.suppress(UsageFailure):
        after = one_key.with_value(before, key, 7)
        *tables, last = key.split(".")
        table = meaning
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = 7
        assert tomllib.loads(after) == meaning
        assert sorted(line for line in after.splitlines() if line.startswith("#")) == comments


@pytest.mark.parametrize(
    ("before", "key"), [("[[a]]\nx = 1\n", "a.ttl"), ("a = { x = { y = 1 } }\n", "a.z.ttl")]
)
def test_what_is_inside_a_value_is_left_to_the_editor(before, key):
    with pytest.raises(UsageFailure, match="in a list of tables or in a value"):
        one_key.with_value(before, key, 3)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("limits.questions_per_day", "50", lambda c: c.limits.questions_per_day == 50),
        ("assistant.chatgpt.model", "4", lambda c: c.assistant["chatgpt"].model == "4"),
        ("assistant.chatgpt.vision", "true", lambda c: c.assistant["chatgpt"].vision),
        ("pictures.hosts", '["qpic.cn"]', lambda c: c.pictures.hosts == ("qpic.cn",)),
        ("session.ttl", "１０分钟", lambda c: c.session.ttl == 600),
        ("session.ttl", "10分钟", lambda c: c.session.ttl == 600),
        ("account.main.welcome", "你好", lambda c: c.account["main"].welcome == "你好"),
    ],
)
def test_a_value_is_what_its_key_needs(place, key, value, read):
    assert run(place, "set", key, value, "-y").returncode == 0
    assert read(configured(place))


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (("set", "limits.questions_per_day", "many", "-y"), 4, "must be a whole number"),
        (("set", "session.tll", "5m", "-y"), 4, "did you mean `ttl`?"),
        (("set", "nonsense", "5m", "-y"), 2, "is not a key"),
        (("set", "session.ttl"), 2, "VALUE is missing"),
        (("set", "session.ttl", "10m"), 2, "pass --yes"),
        (("set", "assistant.chatgpt.api_key", "sk-new"), 2, "arguments are seen by others"),
        (("set", "assistant.chatgpt.api_key"), 2, "use --from-file"),
        (("unset", "session.ttl", "-y"), 2, "is not set in the file"),
        (("unset", "assistant.chatgpt.model", "-y"), 4, "model: is missing"),
        (("undo", "-y"), 2, "no earlier version"),
        (("edit",), 2, "an editor needs a terminal"),
        (("get", "session.tll"), 2, "did you mean session.ttl?"),
    ],
)
def test_a_wrong_change_changes_nothing_and_says_why(place, arguments, status, why):
    done = run(place, *arguments)
    assert (done.returncode, why in done.stderr) == (status, True), done.stderr
    assert place.read_text() == TEXT
    assert "canary" not in done.stdout + done.stderr


@pytest.mark.processes
def test_a_secret_comes_from_a_file_and_is_never_shown(place):
    key = ("set", "assistant.chatgpt.api_key")
    done = run(place, *key, "--from-file", "-", "-y", given="sk-canary2\n")
    assert done.returncode == 0, done.stderr
    assert "canary" not in done.stdout + done.stderr
    assert 'api_key = "sk-canary2"   # from the site' in place.read_text()
    assert run(place, "get", "assistant.chatgpt.api_key").stdout == "***\n"
    assert run(place, *key, "file:key", "-y").returncode == 4, "there is no such file"


@pytest.mark.processes
def test_a_change_is_undone_and_made_again(place):
    run(place, "set", "session.ttl", "10m", "-y")
    changed = place.read_text()
    assert run(place, "undo", "--dry-run").returncode == 0
    assert place.read_text() == changed
    assert run(place, "undo", "-y").returncode == 0
    assert place.read_text() == TEXT
    assert run(place, "undo", "-y").returncode == 0
    assert place.read_text() == changed
    assert editing.previous_of(place).stat().st_mode & 0o777 == 0o600


def type_into(place, *arguments, answers, **environ):
    """Run a command at a terminal; see `converse`."""
    command = [sys.executable, "-m", "wxgpt", "--config", str(place), "config", *arguments]
    status, output, left = converse(command, answers, environ={**ENVIRON, **environ})
    assert not left, output
    return status, output


@pytest.mark.processes
def test_a_secret_is_typed_without_being_shown(place):
    answers = [("hidden", "sk-canary3"), ("Change", "y")]
    status, output = type_into(place, "set", "assistant.chatgpt.api_key", answers=answers)
    assert status == 0
    assert "canary" not in output
    assert "sk-canary3" in place.read_text()


@pytest.mark.processes
def test_an_edit_with_a_mistake_can_be_corrected(place):
    editor = place.with_name("editor")
    editor.write_text(
        '#!/bin/sh\nif grep -q bad "$1"; then sed -i s/bad/20s/ "$1"; '
        'else printf "[session]\\nttl = \\"bad\\"\\n" >> "$1"; fi\n'
    )
    editor.chmod(0o700)
    answers = [("Edit again?", "y"), ("Change", "y")]
    status, output = type_into(place, "edit", answers=answers, EDITOR=str(editor))
    assert status == 0, output
    assert "must be a time such as" in output
    assert configured(place).session.ttl == 20
    status, _ = type_into(place, "edit", answers=[], EDITOR="false")
    assert status == 2


@pytest.mark.processes
def test_an_edit_can_correct_what_is_not_toml_and_shows_no_secret_as_new(place):
    place.write_text(
        place.read_text("utf-8").replace('api_key = "sk-canary"', 'api_key = "sk-canary"\nx = 三十')
    )
    status, output, left = converse(
        [sys.executable, "-m", "wxgpt", "--config", str(place), "config", "edit"],
        [("Change", "y")],
        environ={**ENVIRON, "EDITOR": "sed -i '/三十/d'"},
    )
    assert (status, left) == (0, []), output
    assert "三十" not in place.read_text("utf-8")
    assert "canary" not in output
    assert "(new)" not in output


@pytest.mark.parametrize(
    "secret",
    [
        "[assistant.chatgpt.extra_headers]\nAuthorization = 'Bearer sk-hidden'",
        "[assistant.b]\nx = { model = 'm', api_key = 'sk-hidden' }",
        'token = """\nsk-hidden\n"""',
        'app_secret = "ab\'sk-hidden"',
        "# api_key = 'sk-hidden'",
    ],
)
def test_no_line_is_shown_of_what_is_not_toml(secret):
    after = f"[session]\nttl = '5m'\n{secret}\n"
    lines = list(editing.difference(after.replace("'5m'", "5m"), after))
    assert "+ttl = '5m'" in lines
    assert "sk-hidden" not in "\n".join(lines)
    assert not any(line.startswith("-") for line in lines)


@pytest.mark.processes
@pytest.mark.parametrize("editor", ["sed -i '1i # typed'", "sh -c 'echo >> $0; exit 1'"])
def test_what_is_left_of_an_edit_is_kept_unless_it_was_saved(place, editor):
    status, output, _ = converse(
        [sys.executable, "-m", "wxgpt", "--config", str(place), "config", "edit"],
        [("Change", "y")],
        environ={**ENVIRON, "EDITOR": editor},
    )
    draft = place.with_name(f"{place.name}.draft")
    assert draft.exists() is (status != 0), output
    assert ("# typed" in place.read_text("utf-8")) is (status == 0)


@pytest.mark.processes
def test_what_was_edited_is_kept_whatever_happens(place):
    status, output, _ = converse(
        [sys.executable, "-m", "wxgpt", "--config", str(place), "config", "edit"],
        [("Change", "n")],
        environ={**ENVIRON, "EDITOR": "sed -i 's/5m/9m/;$ a # typed'"},
    )
    assert status == 1, output
    assert "# typed" in place.with_name(f"{place.name}.draft").read_text("utf-8")


def test_every_secret_of_the_configuration_is_known_as_one():
    secrets = [
        "account.main.token", "account.main.aes_key", "account.main.previous_aes_key",
        "account.main.app_secret", "assistant.a.api_key", "assistant.a.proxy",
        "assistant.a.extra_headers.Authorization", "log.master_key", "cluster.credentials",
    ]  # fmt: skip
    assert all(map(editing.is_secret, secrets))
    assert not any(map(editing.is_secret, ("session.ttl", "assistant.a.max_tokens", "links.ttl")))


@pytest.mark.processes
@pytest.mark.parametrize(
    "secret",
    [
        '"api_key" = "sk-canary"',
        "api_key = 'sk-canary'",
        '#api_key = "sk-canary"',
        'api_key = """\nsk-canary"""',
        'extra_headers = { Authorization = "Bearer sk-canary" }',
        '[assistant.chatgpt.extra_headers]\nAuthorization = "Bearer sk-canary"',
        'extra_headers."X-Key" = "sk-canary"',
    ],
)
def test_no_form_of_a_secret_is_in_the_difference(place, secret):
    text = TEXT.replace('api_key = "sk-canary"   # from the site\n', "") + secret + "\n"
    place.write_text(text)
    for arguments in (
        ("set", "assistant.chatgpt.model", "n", "--dry-run"),
        ("set", "account.main.welcome", "你好", "--dry-run"),
        ("unset", "account.main.welcome", "--dry-run"),
    ):
        done = run(place, *arguments)
        assert "canary" not in done.stdout + done.stderr, arguments


def test_a_new_secret_is_shown_as_new():
    before, after = 'api_key = "sk-1"\nmodel = "m"', 'api_key = "sk-2"\nmodel = "m"'
    lines = list(editing.difference(before, after))
    assert lines == ['-api_key = "***"', '+api_key = "*** (new)"', ' model = "m"']


@pytest.mark.processes
def test_a_link_to_the_configuration_stays_one(place, tmp_path):
    link = tmp_path / "elsewhere" / "wxgptd.toml"
    link.parent.mkdir()
    link.symlink_to(place)
    assert run(link, "set", "session.ttl", "8m", "-y").returncode == 0
    assert link.is_symlink()
    assert configured(place).session.ttl == 480


@pytest.mark.processes
def test_line_endings_and_a_byte_order_mark_stay(place):
    place.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert run(place, "set", "session.ttl", "8m", "-y").returncode == 0
    data = place.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf# ")
    assert data.count(b"\n") == data.count(b"\r\n")


def test_a_change_in_between_is_not_lost(place):
    before = place.read_bytes()
    place.write_text(f"{TEXT}# by a colleague\n")
    with pytest.raises(UsageFailure, match="was changed meanwhile"):
        editing.save(place, TEXT, before)
    assert "colleague" in place.read_text()
