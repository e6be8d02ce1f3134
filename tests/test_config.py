"""The configuration: what is accepted, and how mistakes are reported."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import attrs
import pytest

from tests.support.field import FIELD
from wxgpt import language
from wxgptd import config as cfg
from wxgptd.config import ConfigError, doubts, load
from wxgptd.domain.model.values import Text
from wxgptd.domain.replies.texts import Texts
from wxgptd.errors import WxgptError
from wxgptd.service.answers.moderation import Moderation

ETC = Path(__file__).parent.parent / "etc" / "wxgptd.toml"
GOOD = """
[server]
public_url = "https://chat.example.com"
state_dir = "state"
[account.main]
token = "token123"
[assistant.chatgpt]
base_url = "https://api.openai.com/v1"
api_key = "sk-canary"
model = "gpt"
"""
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


def write_config(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "wxgptd.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def faults(tmp_path: Path, text: str, environ=None, mode: int = 0o600) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(write_config(tmp_path, text, mode), environ or {})
    assert raised.value.exit_status == 4
    assert "\n" not in str(raised.value)
    assert "canary" not in str(raised.value)
    return raised.value.faults


def test_a_minimal_configuration_is_enough(tmp_path):
    config = load(write_config(tmp_path, GOOD), {})
    assert config.session.ttl == 300.0
    assert config.server.state_dir == tmp_path / "state"
    assert config.server.admin_socket == tmp_path / "state" / "admin.sock"
    assert cfg.webhook_path("main", config.account["main"]) == "/wx/main"
    assert cfg.chat_command("chatgpt", config.assistant["chatgpt"]) == "/chatgpt"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("400毫秒", 0.4), ("30秒", 30), ("30 秒钟", 30), ("5分", 300), ("5分钟", 300), ("1.5小时", 5_400),
     ("7天", 604_800), ("7 d", 604_800)],
)  # fmt: skip
def test_a_time_can_be_written_in_chinese(tmp_path, written, seconds):
    text = GOOD.replace("[account", f'timestamp_tolerance = "{written}"\n[account', 1)
    assert load(write_config(tmp_path, text), {}).server.timestamp_tolerance == seconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a = "b\n', "这一行的引号没有收尾"), ("a = [1,\n", "文件末尾"), ("[a]\n[a]\n", "写了两次"),
        ("a = 三\n", "第 1 行第 5 列：值写得不对"), ("a b\n", "键后面要有 ="),
        ('a = """\n', "文件末尾：引号没有收尾"),
    ],
)  # fmt: skip
def test_what_is_not_toml_is_said_in_the_operators_language(tmp_path, text, said):
    (fault,) = faults(tmp_path, text)
    language.choose("zh")
    try:
        assert said in language.shown(fault)
    finally:
        language.choose("en")


@pytest.mark.parametrize("written", ["5刻钟", "五分钟", "٣m", "5分钟半", "-5秒"])
def test_what_is_no_time_is_refused_in_chinese_too(tmp_path, written):
    assert "must be a time" in faults(tmp_path, f'{GOOD}[links]\nttl = "{written}"\n')[0]


def test_durations_and_sizes_may_have_units(tmp_path):
    text = GOOD + '[session]\nttl = "90s"\nmax_question = "4KiB"\n[links]\nttl = 3600\n'
    config = load(write_config(tmp_path, text), {})
    assert (config.session.ttl, config.session.max_question, config.links.ttl) == (90, 4096, 3600)


def test_the_repr_of_a_configuration_hides_its_secrets(tmp_path):
    config = load(write_config(tmp_path, GOOD), {})
    assert "canary" not in repr(config)
    assert "token123" not in repr(config)
    assert config.assistant["chatgpt"].api_key.reveal() == "sk-canary"


def test_secrets_come_from_the_environment_from_files_and_from_systemd(tmp_path):
    (tmp_path / "token").write_text("fromfile1\n")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "creds").mkdir()
    (tmp_path / "creds" / "aes").write_text(AES_KEY)
    (tmp_path / "creds" / "aes").chmod(0o400)
    text = (
        GOOD.replace('"token123"', '"file:token"\napp_id = "wx1"\naes_key = "credential:aes"')
    ).replace('"sk-canary"', '"env:KEY"')
    environ = {"KEY": "sk-env", "CREDENTIALS_DIRECTORY": str(tmp_path / "creds")}
    config = load(write_config(tmp_path, text, mode=0o644), environ)
    assert config.account["main"].token.reveal() == "fromfile1"
    assert config.account["main"].aes_key.reveal() == AES_KEY
    assert config.assistant["chatgpt"].api_key.reveal() == "sk-env"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("env:NOT_SET", "environment variable NOT_SET, which is not set"),
        ("file:missing", "cannot be read: No such file"),
        ("file:open", "can be read by every user"),
        ("credential:x", "systemd passed none"),
    ],
)
def test_an_unavailable_secret_is_reported_with_the_reason(tmp_path, secret, why):
    (tmp_path / "open").write_text("x")
    (tmp_path / "open").chmod(0o644)
    reported = faults(tmp_path, GOOD.replace('"sk-canary"', f'"{secret}"'))
    assert len(reported) == 1
    assert reported[0].startswith("assistant.chatgpt.api_key: ")
    assert why in reported[0]


def test_a_world_readable_file_with_secrets_is_rejected(tmp_path):
    (fault,) = faults(tmp_path, GOOD, mode=0o644)
    assert "chmod o=" in fault


def test_a_world_writable_file_is_rejected(tmp_path):
    (fault,) = faults(tmp_path, GOOD, mode=0o602)
    assert "can be changed by every user" in fault


def test_two_accounts_with_the_same_token_cause_a_warning(tmp_path):
    token = re.search(r'token = "(\w+)"', GOOD)[1]
    text = f'{GOOD}\n[account.second]\ntoken = "{token}"\n'
    config = load(write_config(tmp_path, text), {})
    assert [doubt for doubt in doubts(config) if doubt.startswith("account.second.token")]


def test_every_mistake_is_reported_at_once_with_its_key(tmp_path):
    text = """
    [server]
    public_ulr = "https://x.example.com"
    max_connections = "many"
    [account.main]
    tokn = "x"
    aes_key = "short"
    [assistant.chatgpt]
    base_url = "ftp://x"
    command = "chatgpt"
    [session]
    ttl = "5 parsecs"
    [texts]
    no_session = "发送 {link}"
    """
    keys = {fault.split(": ")[0] for fault in faults(tmp_path, text)}
    assert keys == {
        "server.public_ulr",
        "server.max_connections",
        "account.main.tokn",
        "account.main.token",
        "account.main.aes_key",
        "account.main.app_id",
        "assistant.chatgpt.base_url",
        "assistant.chatgpt.command",
        "assistant.chatgpt.model",
        "session.ttl",
        "texts.no_session",
    }


def test_a_misspelt_key_is_reported_with_a_suggestion(tmp_path):
    (fault,) = faults(tmp_path, GOOD + "[session]\nmax_wating = 3\n")
    assert fault == "session.max_wating: no such key, did you mean `max_waiting`?"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ('[server]\nlisten = "9005"', "server.listen"),
        ('[server]\nlisten = "tcp:99999:interface=127.0.0.1"', "server.listen"),
        ('[server]\npublic_url = "http://[bad"', "server.public_url"),
        ('[server]\npublic_url = "chat.example.com"', "server.public_url"),
        ('[server]\nadmin = "tcp:1"', "server.admin"),
        ('[server]\nadmin = "unix:relative"', "server.admin"),
        ("[session]\nttl = inf", "session.ttl"),
        ("[session]\nttl = nan", "session.ttl"),
        ("[session]\nttl = -1", "session.ttl"),
        ("[session]\nmax_waiting = true", "session.max_waiting"),
        ("[session]\nmax_waiting = -1", "session.max_waiting"),
        ('[window]\nreply_margin = "6s"', "window.reply_margin"),
        ('[window]\nsettled_for = "1s"', "window.settled_for"),
        ('[log]\nsegment_size = "1"', "log.segment_size"),
        ('[texts]\nsession_opened = ""', "texts.session_opened"),
        ('[texts]\nsession_opened = "{assistant:d}"', "texts.session_opened"),
        ('[texts]\nsession_opened = "{assistant!z}"', "texts.session_opened"),
        ('[account.two]\ntoken = "t123"\npath = "/wx/main"', "account.two.path"),
        ('[account.two]\ntoken = "t123"\npath = "/wx/two/"', "account.two.path"),
        ('[account.two]\ntoken = "t123"\npath = "/a/two"', "account.two.path"),
        ('[account.two]\ntoken = "has space"', "account.two.token"),
        ('[assistant.two]\nbase_url = "http://[::1"\nmodel = "m"', "assistant.two.base_url"),
        (
            '[assistant.two]\nbase_url = "http://h"\nmodel = "m"\ncommand = "/STOP"',
            "assistant.two.command",
        ),
        (
            '[assistant.two]\nbase_url = "http://h"\nmodel = "m"\ncommand = "/ChatGPT"',
            "assistant.two.command",
        ),
        ('[account.two]\ntoken = "t123"\nassistant = "nobody"', "account.two.assistant"),
        ('[account.two]\ntoken = "t123"\nwelcome = "{link}"', "account.two.welcome"),
        ('[[rule]]\nmatch = "keyword"\nreply = { text = "x" }', "rule.1.words"),
        ('[[rule]]\nmatch = "keyword"\nwords = [""]\nreply = { text = "x" }', "rule.1.words"),
        ('[[rule]]\nmatch = "keyword"\nwords = 3\nreply = { text = "x" }', "rule.1.words"),
        ('[[rule]]\nmatch = "any"\nwords = "x"\nreply = { text = "x" }', "rule.1.words"),
        ('[[rule]]\nmatch = "any"\npattern = "x"\nreply = { text = "x" }', "rule.1.pattern"),
        ('[[rule]]\nmatch = "regex"\npattern = "(a"\nreply = { text = "x" }', "rule.1.pattern"),
        ("[[rule]]\nmatch = 'regex'\npattern = '(a)\\1'\nforward = 'http://h'", "rule.1.pattern"),
        ('[[rule]]\nmatch = "regex"\nreply = { text = "x" }', "rule.1.pattern"),
        ('[[rule]]\nmatch = "kind:picture"\nreply = { text = "x" }', "rule.1.match"),
        ('[[rule]]\nmatch = "event:"\nreply = { text = "x" }', "rule.1.match"),
        ('[[rule]]\nmatch = "sometimes"\nreply = { text = "x" }', "rule.1.match"),
        ('[[rule]]\nmatch = "any"', "rule.1"),
        ('[[rule]]\nmatch = "any"\nforward = "http://h"\nreply = { text = "x" }', "rule.1"),
        ('[[rule]]\nmatch = "any"\nforward = "h"', "rule.1.forward"),
        (
            '[[rule]]\nmatch = "any"\nforward = "https://chat.example.com/wx/main"',
            "rule.1.forward",
        ),
        ('[[rule]]\nmatch = "any"\nreply = { text = "x", image = "m" }', "rule.1.reply"),
        ('[[rule]]\nmatch = "any"\nreply = { title = "x" }', "rule.1.reply"),
        ('[[rule]]\nmatch = "any"\nreply = { text = "x", txt = "x" }', "rule.1.reply.txt"),
        (
            f'[[rule]]\nmatch = "any"\nreply = {{ text = "{"x" * 2049}" }}',
            "rule.1.reply.text",
        ),
        ('[[rule]]\nmatch = "any"\nreply = { music = "http://m" }', "rule.1.reply.cover"),
        (
            '[[rule]]\nmatch = "any"\nreply = { music = "m", cover = "c" }',
            "rule.1.reply.music",
        ),
        ('[[rule]]\nmatch = "any"\nreply = { news = [{ title = "x" }] }', "rule.1.reply.news.1"),
        (
            (
                '[[rule]]\nmatch = "any"\nreply = { news = ['
                '{ title = "x", url = "http://h" }, { title = "x", url = "http://h" }] }'
            ),
            "rule.1.reply.news",
        ),
        ('[[rule]]\nmatch = "any"\naccount = "no"\nforward = "http://h"', "rule.1.account"),
        ('[rule]\nmatch = "any"\nforward = "http://h"', "rule"),
        ('[[rule]]\nmatch = "any"\nforward = "http://u:p@h/x"', "rule.1.forward"),
        ('[[rule]]\nreply = { text = "x" }', "rule.1.match"),
        ('[[rule]]\nmatch = "any"\nreply = "x"', "rule.1.reply"),
        ('[[rule]]\nmatch = "any"\nrepyl = { text = "x" }', "rule.1.repyl"),
        ('[reply]\nstyle = "html"', "reply.style"),
        ("[limits]\nmessages_per_minute = -1", "limits.messages_per_minute"),
        ('[moderation]\nwords_file = "missing.txt"', "moderation.words_file"),
        ('[pictures]\nhosts = ["http://x"]', "pictures.hosts"),
        ('[account.two]\ntoken = "t123"\npush = "often"', "account.two.push"),
        ('[account.two]\ntoken = "t123"\napp_secret = "s"', "account.two.app_id"),
        ('[server]\nwechat_api = "api"', "server.wechat_api"),
        *[
            (f'[assistant.two]\nbase_url = "http://h"\nmodel = "m"\n{line}', f"assistant.two.{key}")
            for line, key in (
                ('auth = "basic"', "auth"),
                ("temperature = 7", "temperature"),
                ('temperature = "hot"', "temperature"),
                ("top_p = 0", "top_p"),
                ("seed = 1.5", "seed"),
                ('proxy = "socks5://h"', "proxy"),
                ("extra_body = { model = 1 }", "extra_body.model"),
                ("extra_body = { d = 2024-01-01 }", "extra_body"),
                ('extra_body = "x"', "extra_body"),
                ('extra_headers = { Host = "x" }', "extra_headers.Host"),
                ('extra_headers = { "a b" = "x" }', "extra_headers.a b"),
                ("extra_headers = { A = 1 }", "extra_headers.A"),
                ('fallback = ["two"]', "fallback"),
                ('fallback = "nobody"', "fallback"),
                ('models = ["a", "A"]', "models"),
                ('models = [""]', "models"),
                ("max_context_tokens = -1", "max_context_tokens"),
                ("daily_budget = 1", "daily_budget"),
                ('daily_budget = "1"', "daily_budget"),
                ("price_per_million = { input = -1 }", "price_per_million.input"),
                ("price_per_million = { in = 1 }", "price_per_million.in"),
            )
        ],
        ("session = 3", "session"),
        ("[sesion]\nttl = 3", "sesion"),
    ],
)
def test_an_invalid_value_is_rejected_with_its_key(tmp_path, change, key):
    if change.startswith("[server]"):
        text = GOOD.replace("[server]\n", change + "\n")
        if "public_url" in change:
            text = text.replace('public_url = "https://chat.example.com"\n', "")
    elif change == "session = 3":
        text = change + GOOD
    else:
        text = f"{GOOD}\n{change}\n"
    reported = faults(tmp_path, text)
    assert [fault.split(": ")[0] for fault in reported] == [key], reported


@pytest.mark.parametrize("text", ["", "[account]", "[account.main]\ntoken = 'abc'"])
def test_an_account_and_an_assistant_are_required(tmp_path, text):
    assert any(fault.startswith(("account", "assistant")) for fault in faults(tmp_path, text))


def test_a_toml_error_is_reported_with_its_line(tmp_path):
    (fault,) = faults(tmp_path, "[server\n")
    assert "is not TOML" in fault
    assert "line 1" in fault
    (fault,) = faults(tmp_path, "[account.main]\ntoken = “canary”\n")
    assert "token = …" in fault
    assert "quotes must be straight" in fault


def test_a_byte_order_mark_is_ignored(tmp_path):
    load(write_config(tmp_path, "\ufeff" + GOOD), {})


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "missing.toml", {})


def test_the_state_directory_is_read_without_any_secret(tmp_path):
    path = write_config(tmp_path, GOOD.replace('"sk-canary"', '"env:NOT_SET"'))
    assert cfg.load_server(path).state_dir == tmp_path / "state"


# The annotated example.

PLACEHOLDERS = {
    "account.main.token",
    "assistant.chatgpt.base_url",
    "assistant.chatgpt.model",
}


def tables(config: type, example: dict, where: str = ""):
    """Yield each configuration key with its default and its value in the example."""
    for field in attrs.fields(config):
        name = field.name.removesuffix("_")
        key = f"{where}{name}"
        if key == "account":
            yield from tables(cfg.Account, example["account"]["main"], "account.main.")
        elif key == "assistant":
            yield from tables(cfg.Assistant, example["assistant"]["chatgpt"], "assistant.chatgpt.")
        elif field.default is None and name not in example:
            continue  # only in the example's comments: it has no default
        elif isinstance(field.default, attrs.Factory) and key != "texts":
            yield key, field.default.factory(), example[name]
        elif key == "rule":
            assert "rule" not in example  # only in the example's comments: no rules by default
        elif key == "texts":
            yield key, {n: getattr(Texts(), n) for n in example["texts"]}, example["texts"]
            assert list(example["texts"]) == list(Texts.__dataclass_fields__)
        elif attrs.has(type(field.default)):
            yield from tables(type(field.default), example[name], f"{key}.")
        else:
            yield key, field.default, example[name]


def test_the_example_has_every_key_at_its_default(tmp_path):
    example = tomllib.loads(ETC.read_text())
    loaded = load(write_config(tmp_path, ETC.read_text()), {})
    count = 0
    for key, default, shown in tables(cfg.Config, example):
        count += 1
        if key in PLACEHOLDERS:
            continue
        value = loaded
        for name in key.split("."):
            field = "continue_" if name == "continue" else name
            value = value[name] if isinstance(value, dict) else getattr(value, field)
        if key != "texts":
            assert value == default, key
        else:
            assert shown == default
    assert count > 25


def test_the_example_s_commented_settings_are_valid(tmp_path):
    text = re.sub(r"(?m)^#(?=[^\s#])", "", ETC.read_text())
    config = load(write_config(tmp_path, text), {})
    assert len(config.rule) > 5


def test_the_example_has_no_unknown_key(tmp_path):
    load(write_config(tmp_path, ETC.read_text()), {})


def test_a_configuration_passed_by_systemd_needs_absolute_paths_on_reload_too(tmp_path):
    text = """
[account.main]
token = "file:token"
[assistant.chatgpt]
base_url = "https://api.example.org/v1"
model = "m"
"""
    (tmp_path / "token").write_text("token123")
    (tmp_path / "token").chmod(0o600)
    path = tmp_path / "wxgptd.toml"
    assert cfg.parse(text, path, {})
    with pytest.raises(ConfigError, match="absolute path"):
        cfg.parse(text, path, {}, absolute=True)
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="absolute path"):
        load(path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_world_readable_file_is_rejected_on_reload_too(tmp_path):
    text = """
[account.main]
token = "token123"
[assistant.chatgpt]
base_url = "https://api.example.org/v1"
model = "m"
"""
    path = tmp_path / "wxgptd.toml"
    assert cfg.parse(text, path, {}, mode=0o600)
    with pytest.raises(ConfigError, match="every user of this machine"):
        cfg.parse(text, path, {}, mode=0o644)


def test_a_daemon_credential_is_not_required_elsewhere(tmp_path):
    path = tmp_path / "wxgptd.toml"
    path.write_text("""
[account.main]
token = "credential:token"
app_id = "wx1"
aes_key = "credential:aes"
[assistant.chatgpt]
base_url = "https://api.example.org/v1"
api_key = "credential:key"
model = "m"
proxy = "credential:proxy"
""")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="LoadCredential"):
        load(path, {})
    config = load(path, {}, elsewhere=True)
    assert not any("account" in doubt or "assistant" in doubt for doubt in cfg.doubts(config))
    with pytest.raises(WxgptError, match="available only to the daemon"):
        config.account["main"].token.reveal()
    assert "***" in repr(config)


@pytest.mark.parametrize(
    "line",
    [
        'master_key: "{secret}"',
        'master_key "{secret}"',
        "{secret}",
        'x = "{secret}',
        '{secret} = "1"',
    ],
)
def test_an_invalid_line_is_shown_without_possible_secrets(line, tmp_path):
    secret = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2E="
    path = tmp_path / "wxgptd.toml"
    path.write_text(f"[log]\n{line.format(secret=secret)}\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert "line 2" in str(refused.value)
    assert "Y2Fu" not in str(refused.value)


def test_excessive_nesting_is_rejected_with_a_message(tmp_path):
    with pytest.raises(ConfigError, match="nested"):
        cfg.parse("x=" + "[" * 5_000, tmp_path / "wxgptd.toml", {})


def listening_on(endpoint):
    return f"""
[server]
metrics = "{endpoint}"
listen = "{endpoint}"
[account.main]
token = "token123"
[assistant.chatgpt]
base_url = "https://api.example.org/v1"
model = "m"
"""


@pytest.mark.parametrize(
    "listen", ["tcp:9006", "tcp:port=9006", "tcp:interface=127.0.0.1:port=9006"]
)
def test_every_kind_of_endpoint_is_accepted(listen, tmp_path):
    assert cfg.parse(listening_on(listen), tmp_path / "wxgptd.toml", {}).server.listen == listen


@pytest.mark.parametrize("listen", ["tcp:abc", "tcp:", "tcp:9005x", "tcp:port=x"])
def test_an_invalid_endpoint_is_reported_before_startup(listen, tmp_path):
    with pytest.raises(ConfigError) as refused:
        cfg.parse(listening_on(listen), tmp_path / "wxgptd.toml", {})
    assert {fault.split(":")[0] for fault in refused.value.faults} == {
        "server.listen",
        "server.metrics",
    }


KEY_FROM_ENV = GOOD.replace('"sk-canary"', '"env:FIELD_KEY"')


def environ_of(path: Path) -> dict[str, str]:
    name, _, value = path.read_text("utf-8").strip().partition("=")
    return {name: ast.literal_eval(value)}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a-double-quotes", "has quotes around its value"),
        ("b-single-quotes", "has quotes around its value"),
        ("f-bearer", "begins with Bearer"),
        ("g-curly-quotes", "has quotes around its value"),
        ("h-empty", "FIELD_KEY is empty"),
    ],
)
def test_stray_characters_around_a_key_are_reported(tmp_path, name, why):
    [path] = (FIELD / "15-keys-from-env-files").glob(f"{name}.env")
    [fault] = faults(tmp_path, KEY_FROM_ENV, environ_of(path))
    assert why in fault
    assert "abc123" not in fault


@pytest.mark.parametrize("name", ["c-carriage-return", "d-bom", "e-newline"])
def test_a_line_ending_or_byte_order_mark_around_a_key_is_stripped(tmp_path, name):
    [path] = (FIELD / "15-keys-from-env-files").glob(f"{name}.env")
    config = load(write_config(tmp_path, KEY_FROM_ENV), environ_of(path))
    assert config.assistant["chatgpt"].api_key.reveal() == "sk-abc123"


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-with-mark", "utf-16-be-with-mark"]


def encoded(text: str, encoding: str) -> bytes:
    mark = "\ufeff" if encoding.endswith("with-mark") else ""
    return (mark + text).encode(encoding.removesuffix("-with-mark"))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_files_written_by_windows_are_read(tmp_path, encoding):
    (tmp_path / "key").write_bytes(encoded("sk-abc123\r\n", encoding))
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "words").write_bytes(encoded("坏词\r\n", encoding))
    path = write_config(tmp_path, "")
    text = GOOD.replace("sk-canary", "file:key") + '[moderation]\nwords_file = "words"\n'
    path.write_bytes(encoded(text, encoding))
    config = load(path, {})
    assert config.assistant["chatgpt"].api_key.reveal() == "sk-abc123"
    assert Moderation(config.moderation.words_file).objects(Text("有坏词"))


@pytest.mark.parametrize("data", [b"sk-\xff\xfe", "密钥".encode("gbk"), b"\xff\xfea"])
def test_a_key_file_in_another_encoding_is_reported(tmp_path, data):
    (tmp_path / "key").write_bytes(data)
    (tmp_path / "key").chmod(0o600)
    [fault] = faults(tmp_path, GOOD.replace("sk-canary", "file:key"))
    assert "is in GBK" in fault if data.startswith(b"\xc3") else "is not UTF-" in fault
    assert "save it as UTF-8" in fault


def test_a_configuration_in_gbk_is_named(tmp_path):
    path = write_config(tmp_path, "")
    path.write_bytes(f"# 配置\n{GOOD}".encode("gb18030"))
    with pytest.raises(ConfigError, match="is in GBK: save it as UTF-8"):
        load(path, {})


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ('token ＝ "token123"', ": token = … (type = instead of ＝)"),
        ("token = “token123”", ': token = … (quotes must be straight: ")'),
        ("fallback = ［］", "(type [ instead of ［)"),
        ("price_per_million = ｛ input = 1 }", "(type { instead of ｛)"),
        ('words = ["价格"， "多少钱"]', "(type , instead of ，)"),
        ("＃ 注释", "(type # instead of ＃)"),
    ],
)
def test_chinese_punctuation_in_toml_is_named(tmp_path, written, advice):
    [fault] = faults(tmp_path, f"[account.main]\n{written}\n")
    assert fault.endswith(advice), fault


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://localhost:99999/v1", '"99999" as its port'),
        ("http://localhost:0/v1", '"0" as its port'),
        ("http://localhost:abc/v1", '"abc" as its port'),
        ("http://[::1]:70000/v1", '"70000" as its port'),
        ("http://:11434/v1", "names no host"),
        ("https:///v1", "names no host"),
        ("http://[::1/v1", "brackets"),
        ("http://::1:11434/v1", "brackets around it"),
        ("http://[fe80::1%eth0]:11434/v1", "zone"),
        ("http://localhost：11434/v1", "full-width"),
        ("localhost:11434/v1", "begins with https:// or http://"),
        ("ftp://localhost/v1", "begins with https:// or http://"),
        ("http://local host/v1", "has a space"),
    ],
)
def test_an_invalid_url_is_reported_with_the_reason(tmp_path, url, why):
    [fault] = faults(tmp_path, GOOD.replace("https://api.openai.com/v1", url))
    assert fault.startswith("assistant.chatgpt.base_url: ")
    assert why in fault


@pytest.mark.parametrize(
    "host", ["[::1]", "one_api", "stack_ollama_1", "[::ffff:127.0.0.1]", "模型"]
)
def test_hosts_without_a_public_domain_name_are_accepted(tmp_path, host):
    url = f"http://{host}:3000/v1"
    config = load(write_config(tmp_path, GOOD.replace("https://api.openai.com/v1", url)), {})
    assert config.assistant["chatgpt"].base_url == url


def test_pictures_may_come_from_hosts_without_a_public_domain_name(tmp_path):
    hosts = '[pictures]\nhosts = ["qpic.cn", "one_api:3000", "[::1]:9000", "[::1]"]\n'
    assert len(load(write_config(tmp_path, GOOD + hosts), {}).pictures.hosts) == 4


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks5", "socks5h", "SOCKS5"])
def test_a_socks_proxy_is_rejected_by_name(tmp_path, scheme):
    proxy = f'model = "gpt"\nproxy = "{scheme}://u:canary@127.0.0.1:1080"'
    [fault] = faults(tmp_path, GOOD.replace('model = "gpt"', proxy))
    assert "SOCKS proxies" in fault
    assert "HTTP proxy" in fault
