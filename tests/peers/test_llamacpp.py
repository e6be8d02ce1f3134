"""Conversations with llama.cpp's server: real inference with randomly initialised weights."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.peers.conftest import HOME, Peer
from tests.support.builders import words_of

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        "WXGPTD_PEERS" not in os.environ,
        reason="takes minutes to build the server: `make test-peers` runs it",
    ),
]

SOURCE = "llama-cpp-python==0.3.36"
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF", "-DLLAMA_CURL=OFF", "-DBUILD_SHARED_LIBS=OFF",
)  # fmt: skip


class LlamaCpp(Peer):
    """The server, built from the sources that its Python bindings include."""

    def __init__(self) -> None:
        super().__init__("llamacpp", "gguf", "numpy", "cmake", "ninja")
        home = HOME / "llamacpp"
        self.server = home / "llama-server"
        self.model = home / "tiny.gguf"
        if not self.server.exists():
            try:
                self._build(home)
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"llama.cpp cannot be built here: {error}")
        subprocess.run(
            [self.bin / "python", Path(__file__).parent / "tiny_gguf.py", self.model], check=True
        )

    def _build(self, home: Path) -> None:
        def run(*command: str | Path) -> None:
            subprocess.run(command, check=True, cwd=home, timeout=1_800, capture_output=True)

        pip = (self.bin / "python", "-m", "pip", "download", "-q", "--no-deps")
        run(*pip, "--no-binary", ":all:", SOURCE)
        (archive,) = home.glob("llama_cpp_python-*.tar.gz")
        with tarfile.open(archive) as sources:
            sources.extractall(home, filter="data")
        sources = home / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
        cmake = self.bin / "cmake"
        run(cmake, "-S", sources, "-B", home / "build", *OPTIONS)
        run(cmake, "--build", home / "build", "--target", "llama-server", "-j", "2")
        (home / "build" / "bin" / "llama-server").rename(self.server)


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory):
    peer = LlamaCpp()
    peer.start(
        peer.server,
        *("-m", peer.model, "--host", "127.0.0.1", "--port", str(peer.port)),
        *("-c", "512", "-np", "1", "--api-key", "sk-peer-key", "--jinja"),
        ready="/health",
        log=tmp_path_factory.mktemp("llamacpp") / "server.log",
    )
    yield peer
    peer.stop()


def talk(stage, llamacpp: Peer, text: str, key: str = "sk-peer-key", extra: str = "") -> dict:
    stage.configure(f"{llamacpp.url}/v1", extra=f"max_tokens = 40\n{extra}")
    stage.config.write_text(stage.config.read_text().replace("sk-canary-key", key))
    stage.start_daemon()
    stage.send("/chatgpt")
    return stage.send(text)


def answer_events(stage) -> list[dict]:
    import json

    lines = stage.wxgpt("tail", "-o", "ndjson", "--kind", "AnswerCompleted,AnswerFailed").stdout
    return [json.loads(line) for line in lines.splitlines()]


def test_token_usage_is_what_the_server_reports(stage, llamacpp):
    sent = talk(stage, llamacpp, "hello")
    assert not sent["fault"]
    (first,) = answer_events(stage)
    assert first["type"] == "AnswerCompleted"
    assert first["prompt_tokens"] > 5
    assert not first["estimated"]
    stage.send("and then?")
    assert answer_events(stage)[-1]["prompt_tokens"] > first["prompt_tokens"]


def test_old_turns_are_dropped_when_the_context_window_is_full(stage, llamacpp):
    talk(stage, llamacpp, "a" * 120)
    replies = [stage.send("b" * 120)["reply"] for _ in range(4)]
    assert all(event["type"] == "AnswerCompleted" for event in answer_events(stage))
    assert sum("不再参考" in reply for reply in replies) == 1


def test_a_question_larger_than_the_context_window_is_reported(stage, llamacpp):
    assert (
        words_of(talk(stage, llamacpp, "x" * 2_000)["reply"])
        == "这次对话太长，AI 记不下了。请清空对话后再问。"
    )


def test_a_wrong_key_is_reported(stage, llamacpp):
    assert (
        talk(stage, llamacpp, "hello", "sk-wrong")["reply"]
        == "抱歉，AI 服务暂时用不了，请稍后再试。"
    )
