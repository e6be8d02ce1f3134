"""`wxgpt init`, with and without a terminal."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.dripping import dripping
from tests.support.scripted_model import ScriptedModel
from tests.support.terminal import converse
from wxgpt import listening
from wxgpt.failures import UsageFailure
from wxgpt.setup import answers, checks, files, model_choice, trial
from wxgpt.setup.providers import CAUTIOUS, PROVIDERS, Price
from wxgptd import config as cfg
from wxgptd.llm import wire

pytestmark = pytest.mark.processes


def init(place: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wxgpt", "init", "--root", str(place), *arguments],
        cwd=place, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
        env={**os.environ, **environ},
    )  # fmt: skip


def required_options(place: Path, *more: str) -> list[str]:
    key = place / "key"
    key.write_text("sk-canary\n")
    return ["--provider", "deepseek", "--api-key-file", str(key), "--domain", "chat.example.org",
            "--app-id", "wx0123456789", *more]  # fmt: skip


CONFIG = "etc/wxgptd/wxgptd.toml"


def test_options_become_a_configuration_readable_only_by_its_owner(tmp_path):
    result = init(tmp_path, *required_options(tmp_path))
    assert result.returncode == 0, result.stderr
    path = tmp_path / CONFIG
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = cfg.load(path)
    assert config.server.public_url == "https://chat.example.org"
    assert config.server.state_dir == Path("/var/lib/wxgptd")
    account, assistant = config.account["main"], config.assistant["chatgpt"]
    assert re.fullmatch(r"[A-Za-z0-9]{32}", account.token.reveal())
    assert re.fullmatch(r"[A-Za-z0-9]{43}", account.aes_key.reveal())
    assert (assistant.base_url, assistant.model) == ("https://api.deepseek.com", "deepseek-flash")
    assert assistant.extra_body == {"thinking": {"type": "disabled"}}
    assert assistant.api_key.reveal() == "sk-canary"
    assert list(cfg.doubts(config)) == []


@pytest.mark.parametrize(
    ("option", "open_without_command", "ttl_s", "instruction"),
    [("--only-ai", True, 7_200, "Send 你好"), ("--shared", False, 300, "Send /chatgpt")],
)
def test_the_purpose_of_the_account_determines_how_sessions_open_and_expire(
    option, open_without_command, ttl_s, instruction, tmp_path
):
    result = init(tmp_path, *required_options(tmp_path, option))
    config = cfg.load(tmp_path / CONFIG)
    account = config.account["main"]
    assert account.open_without_command is open_without_command
    assert bool(account.welcome) is open_without_command
    assert config.session.ttl == ttl_s
    assert instruction in result.stdout
    assert list(cfg.doubts(config)) == []


def test_init_prints_the_values_to_enter_but_never_the_api_key(tmp_path):
    result = init(tmp_path, *required_options(tmp_path))
    account = cfg.load(tmp_path / CONFIG).account["main"]
    assert "https://chat.example.org/wx/main" in result.stdout
    assert account.token.reveal() in result.stdout
    assert account.aes_key.reveal() in result.stdout
    assert "安全模式" in result.stdout
    assert "canary" not in result.stdout + result.stderr


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("more", [[], ["--only-ai"], ["--provider", "ollama"]])
def test_the_comments_are_in_the_operators_language(language, more, tmp_path):
    result = init(tmp_path, *required_options(tmp_path, *more), WXGPT_LANG=language)
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / CONFIG).read_text("utf-8").splitlines()
    comments = [line for line in lines if line.startswith("# ")]
    assert len(comments) > 14
    for comment in comments:
        assert bool(re.search("[\u4e00-\u9fff]", comment)) is (language == "zh"), comment


def test_every_configuration_has_its_own_secrets(tmp_path):
    secrets = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        init(tmp_path / name, *required_options(tmp_path))
        account = cfg.load(tmp_path / name / CONFIG).account["main"]
        secrets |= {account.token.reveal(), account.aes_key.reveal()}
    assert len(secrets) == 4


def test_existing_files_are_not_overwritten(tmp_path):
    init(tmp_path, *required_options(tmp_path, "--systemd"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = init(tmp_path, *required_options(tmp_path, "--systemd"))
    assert result.returncode == 2
    assert "exists; nothing was changed" in result.stderr
    (tmp_path / CONFIG).unlink()
    unit = tmp_path / "etc/systemd/system/wxgptd.service"
    unit.write_text("mine")
    result = init(tmp_path, *required_options(tmp_path, "--systemd"))
    assert "left unchanged" in result.stderr
    assert unit.read_text() == "mine"
    assert len(before) == len([path for path in tmp_path.rglob("*") if path.is_file()])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_gives_a_valid_configuration(provider, tmp_path):
    preset = PROVIDERS[provider]
    address = "https://res.example.org/v1"
    more = ["--base-url", address] if not preset.base_url else []
    more += ["--model", "m"] if not preset.models else []
    result = init(
        tmp_path, "--provider", provider, "--domain", "chat.example.org", "--plain",
        *more, WXGPT_API_KEY="sk-1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
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
def test_a_missing_option_is_reported_without_a_terminal(missing, named, tmp_path):
    result = init(tmp_path, *missing)
    assert result.returncode == 2
    assert named in result.stderr
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
def test_an_invalid_option_is_reported_and_nothing_is_written(wrong, named, tmp_path):
    result = init(tmp_path, *required_options(tmp_path, *wrong))
    assert result.returncode == 2
    assert named in result.stderr
    assert not (tmp_path / CONFIG).exists()


def test_the_web_server_configuration_has_the_domain_and_port(tmp_path):
    (tmp_path / "etc/caddy").mkdir(parents=True)
    (tmp_path / "etc/caddy/Caddyfile").write_text(":80 {\n}\n")
    init(tmp_path, *required_options(tmp_path, "--web", "caddy", "--port", "9105", "--systemd"))
    site = (tmp_path / "etc/caddy/wxgptd.Caddyfile").read_text()
    assert "chat.example.org {" in site
    assert "127.0.0.1:9105" in site
    main = (tmp_path / "etc/caddy/Caddyfile").read_text()
    assert main == ":80 {\n}\n\nimport /etc/caddy/wxgptd.Caddyfile\n"
    socket = (tmp_path / "etc/systemd/system/wxgptd.socket").read_text()
    assert "ListenStream=127.0.0.1:9105" in socket
    assert cfg.load(tmp_path / CONFIG).server.listen == "tcp:9105:interface=127.0.0.1"
    (tmp_path / CONFIG).unlink()
    init(tmp_path, *required_options(tmp_path, "--web", "nginx"))
    assert (
        "server_name chat.example.org;" in (tmp_path / "etc/nginx/conf.d/wxgptd.conf").read_text()
    )


def type_into(tmp_path, answers, *options):
    """Run `init` at a terminal in Chinese; see `converse`."""
    command = [sys.executable, "-m", "wxgpt", "init", "--root", str(tmp_path), *options]
    environ = {**os.environ, "WXGPT_LANG": "zh", "XDG_STATE_HOME": str(tmp_path / "kept")}
    return converse(command, answers, environ=environ, directory=tmp_path)


REST = [
    ("要改就选 n） [Y/n]:", "y"), ("example.com:", "chat.example.org"), ("AppID:", "wx0123456789"),
    ("就选 n） [Y/n]:", "y"), ("网站服务器", "caddy"),
]  # fmt: skip


def test_init_prompts_at_a_terminal_and_hides_the_key(tmp_path):
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    answers = [
        ("服务商 [deepseek]:", "deepsek"), ("服务商 [deepseek]:", "2"), ("密钥:", "sk-canary"),
        ("模型 [qwen-plus]:", ""), ("要改就选 n） [Y/n]:", "n"), ("例如 2/8） [4/16]:", "1"),
        ("不限） [20]:", "很多"), ("不限） [20]:", "5"), ("不限） [100]:", "30"),
        ("example.com:", "chat"), ("example.com:", "https://chat.example.org/"),
        ("AppID:", "wx0123456789"), ("就选 n） [Y/n]:", "y"), ("开机自动启动吗？ [Y/n]:", "y"),
        ("网站服务器", "caddy"),
    ]  # fmt: skip
    status, output, left = type_into(tmp_path, answers, "--no-try")
    assert (status, left) == (0, []), output
    assert "canary" not in output
    assert "还没有解析" in output or "指向" in output
    assistant = cfg.load(tmp_path / CONFIG).assistant["chatgpt"]
    assert (assistant.model, assistant.daily_budget) == ("qwen-plus", 5)
    assert (assistant.price_per_million.input, assistant.price_per_million.output) == (1, 1)
    assert cfg.load(tmp_path / CONFIG).limits.questions_per_day == 30
    assert "price_per_million" not in output  # they were agreed, there is nothing left to check
    assert cfg.load(tmp_path / CONFIG).account["main"].open_without_command
    assert (tmp_path / "etc/systemd/system/wxgptd.socket").exists()


@pytest.fixture
def model():
    model = ScriptedModel()
    yield model
    model.close()


def test_a_wrong_key_is_found_at_the_prompt(tmp_path, model):
    refusals = [(401, '{"error": {"message": "Incorrect API key sk-canary1"}}')]
    model.refuses = lambda _: refusals.pop() if refusals else None
    answers = [
        ("服务商 [deepseek]:", "other"), ("base_url）:", model.base_url),
        ("密钥:", "sk-canary1"), ("模型:", "m"), ("以后再改）:", "sk-canary2"), *REST,
    ]  # fmt: skip
    status, output, left = type_into(tmp_path, answers)
    assert (status, left) == (0, []), output
    assert "服务器不认这个密钥" in output
    assert "能回答。" in output
    assert "canary" not in output
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].api_key.reveal() == "sk-canary2"


def test_an_unknown_model_is_asked_for_again_and_a_refusal_can_be_ignored(tmp_path, model):
    model.refuses = lambda _: (404, '{"error": {"message": "The model m1 does not exist"}}')
    answers = [
        ("服务商 [deepseek]:", "other"), ("base_url）:", model.base_url), ("密钥:", "sk-canary"),
        ("模型:", "m1"), ("以后再改） [Y/n]:", "y"), ("模型:", "m2"),
        ("以后再改） [Y/n]:", "n"), *REST,
    ]  # fmt: skip
    status, output, left = type_into(tmp_path, answers)
    assert (status, left) == (0, []), output
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].model == "m2"


def test_the_models_that_the_server_offers_are_shown(tmp_path, model):
    model.offers = ["text-embedding-3", "whisper-1", "chat-2", "chat-2-mini"]
    answers = [
        ("服务商 [deepseek]:", "other"), ("base_url）:", model.base_url), ("密钥:", "sk-canary"),
        ("模型:", "chat-2"), *REST,
    ]  # fmt: skip
    status, output, left = type_into(tmp_path, answers)
    assert (status, left) == (0, []), output
    assert "服务器提供：chat-2, chat-2-mini" in output
    assert "embedding" not in output


def test_a_rejected_key_is_asked_for_before_the_model(tmp_path, model):
    model.rejects_keys = {"sk-canary1"}
    model.offers = ["chat-2"]
    answers = [
        ("服务商 [deepseek]:", "other"), ("base_url）:", model.base_url),
        ("密钥:", "sk-canary1"), ("以后再改）:", "sk-canary2"),
        ("模型:", "sk-canary2"), ("模型:", "chat-2"), *REST,
    ]  # fmt: skip
    status, output, left = type_into(tmp_path, answers)
    assert (status, left) == (0, []), output
    assert "这里要填的是模型的名字" in output
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].model == "chat-2"


def test_a_model_that_the_server_does_not_have_is_named(tmp_path, model):
    model.offers = ["chat-2"]
    model.refuses = lambda _: (400, '{"error": {"message": "use chat-2"}}')
    answers = [
        ("服务商 [deepseek]:", "other"), ("base_url）:", model.base_url), ("密钥:", "sk-canary"),
        ("模型:", "chat-1"), ("以后再改） [Y/n]:", "y"), ("模型:", "chat-2"),
        ("以后再改） [Y/n]:", "n"), *REST,
    ]  # fmt: skip
    status, output, left = type_into(tmp_path, answers)
    assert (status, left) == (0, []), output
    assert "服务器没有 chat-1 这个模型" in output


def test_a_retired_default_is_not_proposed(model):
    models = {"retired": Price(1, 1), "present": Price(2, 2)}
    preset = PROVIDERS["deepseek"]._replace(models=models)
    server = trial.Server(model.base_url, "sk-1", {})
    model.offers = ["other", "present"]
    assert model_choice.default_of(preset, trial.offered(server)) == "present"
    model.offers = ["other"]
    assert model_choice.default_of(preset, trial.offered(server)) == ""
    model.offers = None  # it does not say: the name is proposed, and the trial decides
    assert model_choice.default_of(preset, trial.offered(server)) == "retired"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data": 3}', b'{"data": [1]}', b'{"data": [{}]}', b"\xff",
             b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_list_of_models_is_ignored(body):
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=_answer_once, args=(server, body, asked), daemon=True)
        answering.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        assert trial.offered(trial.Server(address, "", {})) == trial.Offer()
        answering.join(10)
    assert asked[0].startswith(b"GET /v1/models ")


def _answer_once(server: socket.socket, body: bytes, asked: list[bytes]) -> None:
    connection, _ = server.accept()
    with connection:
        asked.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def test_a_trial_ends_even_if_the_server_sends_a_byte_now_and_then():
    with dripping() as address:
        tried = trial.one_token(trial.Server(f"{address}/v1", "", {}), "m", patience_s=0.3)
    assert (str(tried.why), tried.blames) == ("no answer within 0.3 s", "base_url")


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("https://a.test/v1", "https://a.test/v1/models"),
        ("https://a.test/v1/", "https://a.test/v1/models"),
        ("https://a.test/v1/chat/completions", "https://a.test/v1/models"),
        ("https://a.test/d?api-version=1", "https://a.test/d/models?api-version=1"),
    ],
)
def test_addresses_are_completed_as_the_daemon_completes_them(address, asked):
    server = trial.Server(address, "", {})
    assert server.request("/models").full_url == asked
    assert server.request("/chat/completions").full_url == wire.completions_url(address)


@pytest.mark.parametrize(
    ("typed", "price"),
    [
        ("２／８", (2, 8)),
        (" 2 / 8 ", (2, 8)),
        ("2/8", (2, 8)),
        ("2／8", (2, 8)),
        ("0.5 2", (0.5, 2)),
        ("3", (3, 3)),
        ("2，8", (2, 8)),
    ],
)
def test_prices_can_be_written_in_several_ways(typed, price):
    assert checks.price_of(typed) == price


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "a/b",
        "1/2/3",
        "-1/2",
        "nan/1",
        "/",
        "1_0/2",
        "٣/1",
        "1e3/2",
        "2/",
        "inf/1",
        "2000000000/1",
    ],
)
def test_what_is_no_price_is_refused(typed):
    with pytest.raises(UsageFailure, match="such as"):
        checks.price_of(typed)


def test_prices_and_limits_can_be_options(tmp_path):
    given = ("--price", "1.5/3", "--questions-per-day", "7", "--daily-budget", "2")
    assert init(tmp_path, *required_options(tmp_path, *given)).returncode == 0
    config = cfg.load(tmp_path / CONFIG)
    assistant = config.assistant["chatgpt"]
    assert (assistant.price_per_million.input, assistant.price_per_million.output) == (1.5, 3)
    assert (assistant.daily_budget, config.limits.questions_per_day) == (2, 7)


def test_a_price_that_was_given_is_not_to_be_checked_again(tmp_path):
    assert "price_per_million" in init(tmp_path, *required_options(tmp_path)).stdout
    (tmp_path / CONFIG).unlink()
    given = ("--price", "1.5/3", "--daily-budget", "2")
    assert "price_per_million" not in init(tmp_path, *required_options(tmp_path, *given)).stdout


def test_a_model_on_this_machine_can_have_a_price_and_a_budget(tmp_path):
    result = init(tmp_path, "--provider", "ollama", "--domain", "chat.example.org", "--plain",
                  "--daily-budget", "5", "--price", "1/2")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assistant = cfg.load(tmp_path / CONFIG).assistant["chatgpt"]
    assert (assistant.daily_budget, assistant.price_per_million.output) == (5, 2)


def test_amounts_are_written_with_all_their_digits(tmp_path):
    given = ("--price", "1234567.5/3", "--daily-budget", "12345678")
    assert init(tmp_path, *required_options(tmp_path, *given)).returncode == 0
    assert "input = 1234567.5, output = 3" in (tmp_path / CONFIG).read_text("utf-8")
    assert "daily_budget = 12345678\n" in (tmp_path / CONFIG).read_text("utf-8")


def test_the_price_is_that_of_the_model(tmp_path):
    assert PROVIDERS["deepseek"].price_of("deepseek-v4-pro") == Price(9, 27)
    assert PROVIDERS["deepseek"].price_of("what-comes-next") == CAUTIOUS
    for preset in PROVIDERS.values():
        assert all(price.output >= price.input >= 0 for price in preset.models.values())


def test_another_provider_is_never_sent_the_key_of_the_first(tmp_path):
    answers = [
        ("服务商 [deepseek]:", "deepseek"), ("密钥:", "sk-of-deepseek"), ("模型 [deepseek-flash]:", ""),
        ("要改就选 n） [Y/n]:", "y"), ("example.com:", None),
    ]  # fmt: skip
    status, output, _ = type_into(tmp_path, answers, "--no-try")
    assert status == 130, output
    answers = [("密钥:", "sk-of-openai"), *REST]
    status, output, left = type_into(
        tmp_path, answers, "--no-try", "--resume", "--provider", "openai"
    )
    assert (status, left) == (0, []), output
    assistant = cfg.load(tmp_path / CONFIG).assistant["chatgpt"]
    assert assistant.base_url == "https://api.openai.com/v1"
    assert assistant.api_key.reveal() == "sk-of-openai"
    assert assistant.daily_budget == 3, "dollars"


@pytest.mark.parametrize(
    "changed", [["--provider", "openai"], ["--base-url", "https://x.example.org/v1"]]
)
@pytest.mark.parametrize("terminal", [True, False])
def test_no_kept_key_goes_to_another_address(changed, terminal, tmp_path):
    kept = tmp_path / "kept" / "wxgpt" / "init.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"provider": "deepseek", "base_url": "https://api.deepseek.com", '
                    '"api_key": "sk-of-deepseek", "model": "deepseek-flash"}')  # fmt: skip
    kept.chmod(0o600)
    if terminal:
        answers = [("密钥:", None)]
        status, output, left = type_into(tmp_path, answers, "--no-try", "--resume", *changed)
        assert (status, left) == (130, []), output
    else:
        result = init(tmp_path, "--resume", "--domain", "a.example.org", "--plain", "--model", "m",
                      *changed, XDG_STATE_HOME=str(tmp_path / "kept"))  # fmt: skip
        assert result.returncode == 2
        assert "--api-key-file is missing" in result.stderr
    assert "sk-of-deepseek" not in kept.read_text()


def test_another_model_has_its_own_price(tmp_path):
    answers = [
        ("服务商 [deepseek]:", "deepseek"), ("密钥:", "sk-1"), ("模型 [deepseek-flash]:", ""),
        ("要改就选 n） [Y/n]:", "y"), ("example.com:", None),
    ]  # fmt: skip
    assert type_into(tmp_path, answers, "--no-try")[0] == 130
    status, output, left = type_into(
        tmp_path, REST, "--no-try", "--resume", "--model", "deepseek-v4-pro"
    )
    assert (status, left) == (0, []), output
    price = cfg.load(tmp_path / CONFIG).assistant["chatgpt"].price_per_million
    assert (price.input, price.output) == (9, 27)


def test_what_was_agreed_survives_and_an_option_is_shown_again(tmp_path):
    answers = [
        ("服务商 [deepseek]:", "deepseek"), ("密钥:", "sk-1"), ("模型 [deepseek-flash]:", ""),
        ("要改就选 n） [Y/n]:", "n"), ("例如 2/8） [2/8]:", "1/3"), ("不限） [20]:", "50"),
        ("不限） [100]:", "7"), ("example.com:", None),
    ]  # fmt: skip
    assert type_into(tmp_path, answers, "--no-try")[0] == 130
    status, output, left = type_into(tmp_path, REST[1:], "--no-try", "--resume")
    assert (status, left) == (0, []), output
    config = cfg.load(tmp_path / CONFIG)
    assistant = config.assistant["chatgpt"]
    assert (assistant.price_per_million.input, assistant.price_per_million.output) == (1, 3)
    assert (assistant.daily_budget, config.limits.questions_per_day) == (50, 7)


def test_a_key_from_a_file_is_used_however_often_the_model_is_typed(tmp_path, model):
    refusals = [(404, '{"error": {"message": "no model m1"}}')]
    model.refuses = lambda _: refusals.pop() if refusals else None
    key = tmp_path / "key"
    key.write_text("sk-canary\n")
    answers = [("模型:", "m1"), ("以后再改） [Y/n]:", "y"), ("模型:", "m2"), *REST]
    status, output, left = type_into(
        tmp_path, answers, "--base-url", model.base_url, "--api-key-file", str(key)
    )
    assert (status, left) == (0, []), output
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].api_key.reveal() == "sk-canary"


@pytest.mark.parametrize(
    ("tried", "explained"),
    [
        (trial.Trial("bad request", "", 400), "the server has no model ep-1: bad request"),
        (trial.Trial("Insufficient Balance", "", 402), "Insufficient Balance"),
        (trial.Trial("no answer within 20 s", "base_url"), "no answer within 20 s"),
    ],
)
def test_only_a_refusal_is_put_down_to_a_model_that_is_not_in_the_list(tried, explained):
    offer = trial.Offer(("m1",), ("m1",))
    assert str(offer.explain(tried, "ep-1").why) == explained
    assert offer.explain(tried, "m1") is tried
    assert trial.Offer().explain(tried, "ep-1") is tried


@pytest.mark.parametrize(
    ("name", "converses"),
    [("vanguard", True), ("reflux", True), ("soraya-7b", True), ("kimi-imagery", True),
     ("gpt-6-luna", True), ("qwen3-vl-plus", True), ("text-embedding-3-large", False),
     ("whisper-1", False), ("bge-m3", False), ("dall-e-3", False), ("gpt-4o-mini-tts", False),
     ("BAAI/bge-reranker-v2-m3", False), ("omni-moderation-latest", False)],
)  # fmt: skip
def test_models_that_do_not_converse_are_not_proposed(name, converses, model):
    model.offers = [name]
    offer = trial.offered(trial.Server(model.base_url, "", {}))
    assert (offer.names, bool(offer.models)) == ((name,), converses)


def test_what_a_server_says_is_shown_without_the_key_and_without_escapes():
    asked: list[bytes] = []

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            asked.append(connection.recv(65_536))
            connection.sendall(b"\x1b[31m\x1b]0;pwned\x07 you sent sk-canary\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        tried = trial.one_token(trial.Server(address, "sk-canary", {}), "m")
    assert b"sk-canary" in asked[0]
    assert tried.blames == "base_url"
    assert "canary" not in str(tried.why)
    assert str(tried.why).isprintable()


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b'{"choices": 5}', b'{"choices": []}', b"\x1f\x8b"]
)
def test_what_is_no_answer_is_said_so(body):
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_once, args=(server, body, []), daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        tried = trial.one_token(trial.Server(address, "", {}), "m")
    assert str(tried.why) == f"{address}: that is not a model's answer"


@pytest.mark.parametrize("way", ["fifo", "writable", "link", "deep", "list", "surrogate"])
def test_answers_that_another_user_can_have_written_are_refused(way, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    kept = answers.path()
    kept.parent.mkdir(parents=True)
    text = {"deep": "[" * 100_000, "list": "[]", "surrogate": '{"a": "\\ud800"}'}.get(way, "{}")
    if way == "fifo":
        os.mkfifo(kept)
    elif way == "link":
        (tmp_path / "other").write_text(text)
        kept.symlink_to(tmp_path / "other")
    else:
        kept.write_text(text)
        kept.chmod(0o622 if way == "writable" else 0o600)
    with pytest.raises(UsageFailure, match="cannot be read"):
        answers.Answers(resume=True)


def test_a_mistake_in_an_answer_is_asked_for_again(tmp_path):
    answers_before = [
        ("服务商 [deepseek]:", "deepseek"), ("密钥:", "sk-1"), ("模型 [deepseek-flash]:", "m\x1b"),
        ("模型 [deepseek-flash]:", ""), ("要改就选 n） [Y/n]:", "n"),
        ("例如 2/8） [2/8]:", "0"), ("不限） [100]:", "7"), *REST[1:],
    ]  # fmt: skip
    status, output, left = type_into(tmp_path, answers_before, "--no-try")
    assert (status, left) == (0, []), output
    assert "不是文字" in output
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].daily_budget == 0, "it has no effect"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--price", "abc"], "--price: 'abc' is not a price"),
        (["--daily-budget", "inf"], "--daily-budget: 'inf' is not an amount"),
        (["--daily-budget", "-0"], "--daily-budget: '-0' is not an amount"),
        (["--daily-budget", "1e300"], "--daily-budget"),
        (["--price", "0", "--daily-budget", "5"], "a budget has no effect without a price"),
    ],
)
def test_an_amount_is_refused_before_anything_else(given, named, tmp_path):
    result = init(tmp_path, *required_options(tmp_path, *given))
    assert result.returncode == 2
    assert named in result.stderr
    assert not (tmp_path / CONFIG).exists()


def test_nginx_gets_its_site_only_with_a_certificate(tmp_path):
    domain = "chat.wxgptd-test.example"  # has no certificate on this machine
    assert files.nginx_site(Path("/"), domain).name == "wxgptd.conf.disabled"
    assert files.nginx_site(tmp_path, domain).name == "wxgptd.conf"


def test_what_was_typed_survives_an_interruption(tmp_path):
    kept = tmp_path / "kept" / "wxgpt" / "init.json"
    answers = [
        ("服务商 [deepseek]:", "qwen"), ("密钥:", "sk-canary"), ("模型 [qwen-plus]:", ""),
        ("要改就选 n） [Y/n]:", None),
    ]  # fmt: skip
    status, output, _ = type_into(tmp_path, answers, "--no-try")
    assert status == 130
    assert "wxgpt init --resume" in output
    assert kept.stat().st_mode & 0o777 == 0o600
    status, output, left = type_into(tmp_path, REST, "--no-try", "--resume")
    assert (status, left) == (0, []), output
    assistant = cfg.load(tmp_path / CONFIG).assistant["chatgpt"]
    assert (assistant.model, assistant.api_key.reveal()) == ("qwen-plus", "sk-canary")
    assert not kept.exists()


def test_who_uses_a_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listening.holder_of(port).endswith(f"({os.getpid()})")
    assert listening.holder_of(port) is None


def test_a_given_api_key_is_used_even_if_the_server_needs_none(tmp_path):
    result = init(tmp_path, "--provider", "vllm", "--model", "m", "--domain", "chat.example.org",
                "--plain", WXGPT_API_KEY="sk-1")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].api_key.reveal() == "sk-1"


def test_a_daily_budget_and_user_limits_are_set_by_default(tmp_path):
    assert init(tmp_path, *required_options(tmp_path)).returncode == 0
    config = cfg.load(tmp_path / CONFIG)
    assert config.assistant["chatgpt"].daily_budget > 0
    assert config.assistant["chatgpt"].price_per_million.output > 0
    assert config.limits.questions_per_day > 0
    assert config.limits.tokens_per_day > 0
    (tmp_path / CONFIG).unlink()
    assert init(tmp_path, *required_options(tmp_path, "--daily-budget", "0")).returncode == 0
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].daily_budget == 0


def test_a_local_model_has_no_daily_budget(tmp_path):
    result = init(tmp_path, "--provider", "ollama", "--domain", "chat.example.org", "--plain")
    assert result.returncode == 0, result.stderr
    assert cfg.load(tmp_path / CONFIG).assistant["chatgpt"].daily_budget == 0


def test_a_state_directory_that_the_unit_cannot_use_is_rejected(tmp_path):
    result = init(tmp_path, *required_options(tmp_path, "--systemd", "--state-dir", "/srv/x"))
    assert result.returncode == 2
    assert "--no-systemd" in result.stderr
    assert not (tmp_path / CONFIG).exists()


def test_the_socket_listens_on_the_given_address(tmp_path):
    init(tmp_path, *required_options(tmp_path, "--systemd", "--listen", "0.0.0.0"))
    socket = (tmp_path / "etc/systemd/system/wxgptd.socket").read_text()
    assert "ListenStream=0.0.0.0:9005" in socket
    (tmp_path / CONFIG).unlink()
    init(tmp_path, *required_options(tmp_path, "--listen", "10.0.0.5", "--web", "caddy"))
    assert "reverse_proxy 10.0.0.5:9005" in (tmp_path / "etc/caddy/wxgptd.Caddyfile").read_text()


def test_the_default_state_directory_of_the_unit_is_accepted(tmp_path):
    result = init(
        tmp_path, *required_options(tmp_path, "--systemd", "--state-dir", "/var/lib/wxgptd")
    )
    assert result.returncode == 0, result.stderr


def test_an_unwritable_web_server_directory_does_not_hide_the_values_to_enter(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nginx").write_text("a file")
    result = init(tmp_path, *required_options(tmp_path, "--web", "nginx"))
    assert result.returncode == 0
    assert "not written" in result.stderr
    assert "令牌(Token)" in result.stdout


@pytest.mark.parametrize("listen", ["::1", "1.2.3.4:key=x", "not an address"])
def test_an_invalid_listen_address_is_rejected(listen, tmp_path):
    result = init(tmp_path, *required_options(tmp_path, "--listen", listen))
    assert result.returncode == 2
    assert "not an IPv4 address" in result.stderr


def test_an_unencodable_option_leaves_no_configuration(tmp_path):
    result = subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"wxgpt", b"init", b"--root", os.fsencode(tmp_path),
         *map(os.fsencode, required_options(tmp_path)), b"--model", b"\xff\xfe"],
        stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode != 0
    assert not (tmp_path / CONFIG).exists()


def test_a_path_with_characters_special_to_systemd_is_rejected(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "wxgpt", "--config", "/etc/my conf/%n.toml", "init", "--root",
         str(tmp_path), *required_options(tmp_path, "--systemd")],
        stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 2
    assert "special to systemd" in result.stderr


@pytest.mark.parametrize(
    ("typed", "domain"),
    [
        ("chat.example.org", "chat.example.org"),
        ("HTTPS://Chat.Example.org/", "chat.example.org"),
        ("聊天.公司.cn", "xn--rss932g.xn--55qx5d.cn"),
        ("chat。example。org", "chat.example.org"),
    ],
)
def test_a_domain_is_taken_as_dns_writes_it(typed, domain):
    assert checks.domain(typed) == domain


@pytest.mark.parametrize("typed", ["chat", "chat.example.org/wx", "1.2.3.4", "a b.cn", "聊天"])
def test_what_is_no_domain_is_refused(typed):
    with pytest.raises(UsageFailure, match="is not a domain name"):
        checks.domain(typed)
