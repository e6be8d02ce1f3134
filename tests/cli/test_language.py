"""The command line in the operator's language: which one, and whether all of it is translated."""

from __future__ import annotations

import gettext
import io
import json
import re
import subprocess
import sys
from string import Formatter

import pytest

import catalogues
from wxgpt import language
from wxgpt.help_text import localized
from wxgpt.main import load
from wxgpt.render import columns, wrap
from wxgptd.errors import WxgptError
from wxgptd.wording import listed, say, say_number


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setenv("LANGUAGE", "")
    language.choose("zh")
    yield
    language.choose("en")


# The catalogue.


def messages():
    return [message for message in catalogues.read() if message.id]


def strings(message):
    return message.string if isinstance(message.string, tuple) else (message.string,)


def texts(message):
    return message.id if isinstance(message.id, tuple | list) else (message.id,)


def test_every_text_is_translated():
    translated = {texts(message)[0] for message in messages() if all(strings(message))}
    assert {text.text for text in catalogues.texts()} == translated, "make catalogues"


def test_the_compiled_catalogue_is_up_to_date():
    data = catalogues.CHINESE.with_suffix(".mo").read_bytes()
    assert data == catalogues.compiled(catalogues.read()), "make catalogues"
    assert gettext.GNUTranslations(io.BytesIO(data)).gettext("yes") == "是"


def placeholders(text):
    try:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError:
        return set()  # an example in JSON


def test_translations_fit_their_texts():
    for message, string in ((m, string) for m in messages() for string in strings(m)):
        found, wanted = placeholders(string), placeholders(texts(message)[-1])
        assert found <= wanted, f"{string}: {found - wanted} would fail"
        assert not re.search("[\u4e00-\u9fff](?:[,;?!]|: )", string), (
            "Chinese has its own punctuation"
        )


# Which language.


@pytest.mark.parametrize(
    ("arguments", "environ", "chosen"),
    [
        ([], {}, "en"),
        ([], {"LANG": "C.UTF-8"}, "en"),
        ([], {"LANG": "zh_CN.UTF-8"}, "zh"),
        ([], {"LANG": "zh_TW.UTF-8"}, "zh"),
        ([], {"LANG": "zh_CN.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ([], {"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN"}, "zh"),
        ([], {"LC_ALL": "zh_CN.UTF-8", "WXGPT_LANG": "en"}, "en"),
        (["--lang", "zh", "status"], {"WXGPT_LANG": "en"}, "zh"),
        (["--lang=en", "status"], {"LANG": "zh_CN.UTF-8"}, "en"),
        (["--lang"], {"LANG": "zh_CN.UTF-8"}, "zh"),
    ],
)
def test_the_language_is_chosen(arguments, environ, chosen):
    assert language.wanted(arguments, environ) == chosen


def run(*arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "wxgpt", *arguments],
        capture_output=True,
        encoding="utf-8",
        env={"PATH": "/usr/bin:/bin", **environ},
        check=False,
    )


@pytest.mark.processes
def test_an_error_is_in_one_language(tmp_path):
    missing = str(tmp_path / "none.toml")
    english = run("--config", missing, "check", LANG="en_US.UTF-8")
    translated = run("--config", missing, "check", LANG="zh_CN.UTF-8")
    assert "cannot be read: No such file" in english.stderr
    assert translated.stderr.startswith(f"{missing}: 读不了：")
    assert translated.returncode == english.returncode == 4
    assert "没有命令" in run("--lang", "zh", "sned-nothing").stderr
    assert "no such command" in run("--lang", "en", "sned-nothing", LANG="zh_CN").stderr


@pytest.mark.processes
def test_json_is_never_translated(tmp_path):
    path = tmp_path / "wxgptd.toml"
    path.write_text("[server\n")
    outputs = [
        run("--config", str(path), "doctor", "--json", LANG=lang).stdout
        for lang in ("en_US.UTF-8", "zh_CN.UTF-8")
    ]
    assert outputs[0] == outputs[1]
    assert any("is not TOML" in found["detail"] for found in json.loads(outputs[0]))


# How texts are put together.


@pytest.mark.usefixtures("chinese")
def test_a_text_keeps_its_parts():
    fault = say("{where}.seed: must be a whole number", where="assistant.a")
    both = listed([fault, say("no sessions")], "; ")
    assert both == "assistant.a.seed: must be a whole number; no sessions"
    assert language.shown(both) == "assistant.a.seed：要是整数; 没有对话"
    assert language.shown(WxgptError(fault)) == "assistant.a.seed：要是整数"
    assert language.spoken("error: {what}", what=WxgptError(fault)).endswith("要是整数")
    assert language.shown(WxgptError()) == "出错了"


@pytest.mark.usefixtures("chinese")
def test_a_number_chooses_the_template():
    one, many = "{n:,} event", "{n:,} events"
    assert say_number(1, one, many) == "1 event"
    assert say_number(2_000, one, many) == "2,000 events"
    assert language.shown(say_number(1, one, many)) == "1 个事件"


def test_without_a_translation_the_text_is_shown():
    assert language.shown(say("{name} of nothing", name="x")) == "x of nothing"
    assert language.shown("") == ""


@pytest.mark.usefixtures("chinese")
def test_help_is_translated_on_a_copy():
    command = load("tail")
    assert "显示日志里的事件" in localized(command).help
    assert command.help.startswith("Show the log's events")


@pytest.mark.parametrize("width", [20, 40, 78])
def test_lines_are_wrapped_by_columns(width):
    text = (
        "删除这个用户的密钥（wxgpt forget），他在日志里的数据就再也读不了。Snapshots are rewritten."
    )
    lines = wrap(text, width)
    assert all(columns(line) <= width for line in lines)
    assert not any(line.startswith(tuple("，。）")) or line.endswith("（") for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
