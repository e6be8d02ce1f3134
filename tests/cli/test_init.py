"""`wxgpt init`, without a terminal and at one."""

from __future__ import annotations

import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wxgpt.setup.providers import PROVIDERS
from wxgptd import config as cfg

pytestmark = pytest.mark.processes


def init(place: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wxgpt", "init", "--root", str(place), *arguments],
        cwd=place, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
        env={**os.environ, **environ},
    )  # fmt: skip


def given(place: Path, *more: str) -> list[str]:
    key = place / "key"
    key.write_text("sk-canary\n")
    return ["--provider", "deepseek", "--api-key-file", str(key), "--domain", "chat.example.org",
            "--app-id", "wx0123456789", *more]  # fmt: skip


CONFIG = "etc/wxgptd/wxgptd.toml"


def test_what_is_given_becomes_a_configuration_that_only_its_owner_reads(tmp_path):
    done = init(tmp_path, *given(tmp_path))
    assert done.returncode == 0, done.stderr
    path = tmp_path / CONFIG
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = cfg.load(path)
    assert config.server.public_url == "https://chat.example.org"
    assert config.server.state_dir == Path("/var/lib/wxgptd")
    account, assistant = config.account["main"], config.assistant["chatgpt"]
    assert re.fullmatch(r"[A-Za-z0-9]{32}", account.token.reveal())
    assert re.fullmatch(r"[A-Za-z0-9]{43}", account.aes_key.reveal())
    assert (assistant.base_url, assistant.model) == ("https://api.deepseek.com", "deepseek-chat")
    assert assistant.api_key.reveal() == "sk-canary"
    assert list(cfg.doubts(config)) == []


@pytest.mark.parametrize(
    ("option", "open_without_command", "ttl_s", "said"),
    [("--only-ai", True, 7_200, "对公众号说 你好"), ("--shared", False, 300, "说 /chatgpt")],
)
def test_what_the_account_is_for_decides_how_a_session_opens_and_how_long_it_lives(
    option, open_without_command, ttl_s, said, tmp_path
):
    done = init(tmp_path, *given(tmp_path, option))
    config = cfg.load(tmp_path / CONFIG)
    account = config.account["main"]
    assert account.open_without_command is open_without_command
    assert bool(account.welcome) is open_without_command
    assert config.session.ttl == ttl_s
    assert said in done.stdout
    assert list(cfg.doubts(config)) == []


def test_it_says_what_to_enter_and_never_the_api_key(tmp_path):
    done = init(tmp_path, *given(tmp_path))
    account = cfg.load(tmp_path / CONFIG).account["main"]
    assert "https://chat.example.org/wx/main" in done.stdout
    assert account.token.reveal() in done.stdout
    assert account.aes_key.reveal() in done.stdout
    assert "安全模式" in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_no_two_of_them_have_the_same_secrets(tmp_path):
    found = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        init(tmp_path / name, *given(tmp_path))
        account = cfg.load(tmp_path / name / CONFIG).account["main"]
        found |= {account.token.reveal(), account.aes_key.reveal()}
    assert len(found) == 4


def test_nothing_that_is_there_is_overwritten(tmp_path):
    init(tmp_path, *given(tmp_path, "--systemd"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = init(tmp_path, *given(tmp_path, "--systemd"))
    assert done.returncode == 2
    assert "exists; nothing was changed" in done.stderr
    (tmp_path / CONFIG).unlink()
    unit = tmp_path / "etc/systemd/system/wxgptd.service"
    unit.write_text("mine")
    done = init(tmp_path, *given(tmp_path, "--systemd"))
    assert "left unchanged" in done.stderr
    assert unit.read_text() == "mine"
    assert len(before) == len([path for path in tmp_path.rglob("*") if path.is_file()])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_makes_a_configuration_that_checks(provider, tmp_path):
    preset = PROVIDERS[provider]
    address = "https://res.example.org/v1"
    more = ["--base-url", address] if not preset.base_url else []
    more += ["--model", "m"] if not preset.model else []
    done = init(
        tmp_path, "--provider", provider, "--domain", "chat.example.org", "--plain",
        *more, WXGPT_API_KEY="sk-1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assistant = cfg.load(tmp_path / CONFIG).assistant["chatgpt"]
    assert assistant.api_key.reveal() == "sk-1"
    assert assistant.base_url == (preset.base_url or address)


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (["--domain", "a.example.org", "--plain"], "--provider is missing"),
        (["--provider", "ollama", "--plain"], "--domain is missing"),
        (["--provider", "ollama", "--domain", "a.example.org"], "--app-id is missing"),
        (
            ["--provider", "qwen", "--domain", "a.example.org", "--plain"],
            "--api-key-file is missing",
        ),
        (["--provider", "azure", "--domain", "a.example.org", "--plain"], "--base-url is missing"),
    ],
)
def test_without_a_terminal_it_names_the_option_that_is_missing(missing, named, tmp_path):
    done = init(tmp_path, *missing)
    assert done.returncode == 2
    assert named in done.stderr
    assert not (tmp_path / CONFIG).exists()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["--provider", "nobody"], "providers: deepseek"),
        (["--domain", "localhost"], "is not a domain name"),
        (["--domain", "chat.example.org/wx"], "is not a domain name"),
        (["--domain", "1.2.3.4"], "is not a domain name"),
        (["--app-id", "0123456789"], "is not an AppID"),
        (["--plain"], "not both"),
        (["--account", "a b"], "is not a valid name"),
        (["--assistant", "a/b"], "is not a valid name"),
        (["--finish"], "--rotate-aes-key"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(wrong, named, tmp_path):
    done = init(tmp_path, *given(tmp_path, *wrong))
    assert done.returncode == 2
    assert named in done.stderr
    assert not (tmp_path / CONFIG).exists()


def test_the_web_server_s_site_has_the_domain_and_the_port(tmp_path):
    (tmp_path / "etc/caddy").mkdir(parents=True)
    (tmp_path / "etc/caddy/Caddyfile").write_text(":80 {\n}\n")
    init(tmp_path, *given(tmp_path, "--web", "caddy", "--port", "9105", "--systemd"))
    site = (tmp_path / "etc/caddy/wxgptd.Caddyfile").read_text()
    assert "chat.example.org {" in site
    assert "127.0.0.1:9105" in site
    main = (tmp_path / "etc/caddy/Caddyfile").read_text()
    assert main == ":80 {\n}\n\nimport /etc/caddy/wxgptd.Caddyfile\n"
    socket = (tmp_path / "etc/systemd/system/wxgptd.socket").read_text()
    assert "ListenStream=127.0.0.1:9105" in socket
    assert cfg.load(tmp_path / CONFIG).server.listen == "tcp:9105:interface=127.0.0.1"
    (tmp_path / CONFIG).unlink()
    init(tmp_path, *given(tmp_path, "--web", "nginx"))
    assert (
        "server_name chat.example.org;" in (tmp_path / "etc/nginx/conf.d/wxgptd.conf").read_text()
    )


def test_at_a_terminal_it_asks_and_does_not_show_the_key(tmp_path):
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "wxgpt", "init", "--root", str(tmp_path)],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = ""
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    answers = [
        ("服务商 [deepseek]:", "deepsek"), ("服务商 [deepseek]:", "2"), ("模型 [qwen-plus]:", ""), ("密钥:", "sk-canary"),
        ("预算 [20]:", "很多"), ("预算 [20]:", "5"),
        ("域名:", "chat"), ("域名:", "https://chat.example.org/"), ("AppID:", "wx0123456789"),
        ("就选 n) [Y/n]:", "y"), ("开机自动启动? [Y/n]:", "y"),
        ("网站服务器", "caddy"),
    ]  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.2)[0]:
            if asking.poll() is not None:
                break
            continue
        try:
            said += os.read(ours, 65_536).decode("utf-8", "replace")
        except OSError:
            break
        if answers and answers[0][0] in said[said.rfind("\n") + 1 :]:
            os.write(ours, f"{answers.pop(0)[1]}\n".encode())
    assert asking.wait(10) == 0, said
    assert not answers, said
    assert "canary" not in said
    assistant = cfg.load(tmp_path / CONFIG).assistant["chatgpt"]
    assert (assistant.model, assistant.daily_budget) == ("qwen-plus", 5)
    assert cfg.load(tmp_path / CONFIG).account["main"].open_without_command
    assert (tmp_path / "etc/systemd/system/wxgptd.socket").exists()


def test_a_key_that_is_given_is_used_also_for_a_server_that_needs_none(tmp_path):
    done = init(tmp_path, "--provider", "vllm", "--model", "m", "--domain", "chat.example.org",
                "--plain", WXGPT_API_KEY="sk-1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].api_key.reveal() == "sk-1"


def test_a_day_has_a_budget_and_a_user_has_limits_unless_told_otherwise(tmp_path):
    assert init(tmp_path, *given(tmp_path)).returncode == 0
    config = cfg.load(tmp_path / CONFIG)
    assert config.assistant["chatgpt"].daily_budget > 0
    assert config.assistant["chatgpt"].price_per_million.output > 0
    assert config.limits.questions_per_day > 0
    assert config.limits.tokens_per_day > 0
    (tmp_path / CONFIG).unlink()
    assert init(tmp_path, *given(tmp_path, "--daily-budget", "0")).returncode == 0
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].daily_budget == 0


def test_a_model_on_this_machine_costs_nothing(tmp_path):
    done = init(tmp_path, "--provider", "ollama", "--domain", "chat.example.org", "--plain")
    assert done.returncode == 0, done.stderr
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].daily_budget == 0


def test_a_state_directory_that_the_unit_cannot_have_is_refused(tmp_path):
    done = init(tmp_path, *given(tmp_path, "--systemd", "--state-dir", "/srv/x"))
    assert done.returncode == 2
    assert "--no-systemd" in done.stderr
    assert not (tmp_path / CONFIG).exists()


def test_the_socket_listens_where_the_daemon_is_to(tmp_path):
    init(tmp_path, *given(tmp_path, "--systemd", "--listen", "0.0.0.0"))
    socket = (tmp_path / "etc/systemd/system/wxgptd.socket").read_text()
    assert "ListenStream=0.0.0.0:9005" in socket
    (tmp_path / CONFIG).unlink()
    init(tmp_path, *given(tmp_path, "--listen", "10.0.0.5", "--web", "caddy"))
    assert "reverse_proxy 10.0.0.5:9005" in (tmp_path / "etc/caddy/wxgptd.Caddyfile").read_text()


def test_the_state_directory_that_the_unit_has_anyway_may_be_named(tmp_path):
    done = init(tmp_path, *given(tmp_path, "--systemd", "--state-dir", "/var/lib/wxgptd"))
    assert done.returncode == 0, done.stderr


def test_a_site_that_cannot_be_written_does_not_hide_what_to_enter(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nginx").write_text("a file")
    done = init(tmp_path, *given(tmp_path, "--web", "nginx"))
    assert done.returncode == 0
    assert "not written" in done.stderr
    assert "令牌(Token)" in done.stdout


@pytest.mark.parametrize("listen", ["::1", "1.2.3.4:key=x", "not an address"])
def test_what_cannot_be_listened_on_is_refused(listen, tmp_path):
    done = init(tmp_path, *given(tmp_path, "--listen", listen))
    assert done.returncode == 2
    assert "not an IPv4 address" in done.stderr


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    done = subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"wxgpt", b"init", b"--root", os.fsencode(tmp_path),
         *map(os.fsencode, given(tmp_path)), b"--model", b"\xff\xfe"],
        stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode != 0
    assert not (tmp_path / CONFIG).exists()


def test_a_path_that_means_something_to_systemd_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "wxgpt", "--config", "/etc/my conf/%n.toml", "init", "--root",
         str(tmp_path), *given(tmp_path, "--systemd")],
        stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "special to systemd" in done.stderr
