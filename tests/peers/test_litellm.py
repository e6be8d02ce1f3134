"""Conversations with LiteLLM's proxy, a third-party server that returns mock answers."""

from __future__ import annotations

import os

import pytest

from tests.peers.conftest import Peer
from tests.support.builders import words_of

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        "WXGPTD_PEERS" not in os.environ,
        reason="installs 750 MB: `make test-peers` runs it",
    ),
]

KEY = "sk-peer-key"
ANSWER = "天空是蓝色的，因为空气把蓝光散射得更多。"
CONFIG = f"""
model_list:
  - model_name: good
    litellm_params: {{model: openai/fake, api_key: x, mock_response: "{ANSWER}"}}
  - model_name: slow
    litellm_params: {{model: openai/fake, api_key: x, mock_response: "慢慢来。", mock_delay: 6}}
  - model_name: limited
    litellm_params: {{model: openai/fake, api_key: x, mock_response: "litellm.RateLimitError"}}
  - model_name: broken
    litellm_params: {{model: openai/fake, api_key: x, mock_response: "litellm.InternalServerError"}}
  - model_name: full
    litellm_params:
      {{model: openai/fake, api_key: x, mock_response: "litellm.ContextWindowExceededError"}}
general_settings: {{master_key: "{KEY}"}}
"""


@pytest.fixture(scope="module")
def litellm(tmp_path_factory):
    peer = Peer("litellm", "litellm[proxy]==1.106.2")
    home = tmp_path_factory.mktemp("litellm")
    (home / "config.yaml").write_text(CONFIG, encoding="utf-8")
    peer.start(
        peer.bin / "litellm",
        "--config",
        home / "config.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(peer.port),
        ready="/health/liveliness",
        log=home / "litellm.log",
    )
    yield peer
    peer.stop()


def talk(stage, litellm: Peer, model: str, key: str = KEY) -> dict:
    stage.configure(f"{litellm.url}/v1")
    text = stage.config.read_text().replace('model = "demo"', f'model = "{model}"')
    stage.config.write_text(text.replace("sk-canary-key", key))
    stage.start_daemon()
    stage.send("/chatgpt")
    return stage.send("天为什么是蓝的？")


def test_a_conversation_works(stage, litellm):
    assert talk(stage, litellm, "good")["reply"] == ANSWER
    assert stage.send("再说一次？")["reply"] == ANSWER
    assert stage.wxgpt("doctor").returncode == 0
    assert "good" in stage.wxgpt("doctor").stdout


def test_a_slow_answer_arrives_on_the_second_attempt(stage, litellm):
    sent = talk(stage, litellm, "slow")
    assert sent["reply"] == "慢慢来。"
    assert [attempt["result"] for attempt in sent["attempts"]] == ["timeout", "reply"]


def test_a_wrong_key_is_reported(stage, litellm):
    assert (
        talk(stage, litellm, "good", "sk-wrong")["reply"] == "抱歉，AI 服务暂时用不了，请稍后再试。"
    )
    assert "api_key" in stage.wxgpt("doctor").stdout


def test_an_unknown_model_is_reported(stage, litellm):
    reply = talk(stage, litellm, "nobody")["reply"]
    assert reply == "抱歉，AI 服务暂时用不了，请稍后再试。"
    assert stage.wxgpt("doctor").returncode == 1


def outcome(stage, sent) -> str:
    """Return the final reply to a question.

    This server takes a few seconds to reject a request, so retries continue after the window.
    """
    assert not sent["fault"]
    return stage.send("继续")["reply"] if "也可以在这里看" in sent["reply"] else sent["reply"]


def test_a_rate_limit_is_reported(stage, litellm):
    assert "现在提问的人较多" in outcome(stage, talk(stage, litellm, "limited"))


def test_a_server_error_is_reported(stage, litellm):
    reply = outcome(stage, talk(stage, litellm, "broken"))
    assert words_of(reply) == "抱歉，AI 服务暂时出了问题，请稍后重试。"


def test_a_full_context_window_is_reported(stage, litellm):
    assert (
        words_of(talk(stage, litellm, "full")["reply"])
        == "这次对话太长，AI 记不下了。请清空对话后再问。"
    )
