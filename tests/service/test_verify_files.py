"""The files that prove to WeChat who owns a domain."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgptd import config as cfg


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "MP_verify_Ab3dEf.txt").write_text("Ab3dEf")
    (tmp_path / "WW_verify_9xYz.txt").write_text("9xYz\n")
    (tmp_path / "notes.txt").write_text("no")
    (tmp_path / "MP_verify_big.txt").write_bytes(b"x" * 5_000)
    (tmp_path / "MP_verify_dir.txt").mkdir()
    (tmp_path / "MP_verify_link.txt").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "MP_verify_pipe.txt")
    return tmp_path


def serving(directory: Path | None) -> Story:
    config = configuration()
    server = attrs.evolve(config.server, verify_files=directory)
    return Story(answer_at(1, "好"), attrs.evolve(config, server=server))


@pytest.mark.parametrize(
    ("path", "body"), [("/MP_verify_Ab3dEf.txt", "Ab3dEf"), ("/WW_verify_9xYz.txt", "9xYz\n")]
)
def test_both_kinds_of_verification_file_are_served_at_the_root(directory, path, body):
    response = serving(directory).get(path)
    assert response.code == 200
    assert response.body == body
    assert response.headers.getRawHeaders("content-type") == ["text/plain; charset=utf-8"]


@pytest.mark.parametrize(
    "path",
    [
        "/notes.txt",
        "/MP_verify_none.txt",
        "/MP_verify_Ab3dEf.txt/",
        "/MP_verify_Ab3dEf.txt/x",
        "/a/MP_verify_Ab3dEf.txt",
        "/MP_verify_Ab3dEf.TXT",
        "/mp_verify_Ab3dEf.txt",
        "/XX_verify_Ab3dEf.txt",
        "/MP_verify_..txt",
        "/MP_verify_/../notes.txt",
        "/%4dP_verify_Ab3dEf.txt",
        "/MP_verify_big.txt",
        "/MP_verify_dir.txt",
        "/MP_verify_link.txt",
        "/MP_verify_pipe.txt",
    ],
)
def test_nothing_else_is_served(directory, path):
    assert serving(directory).get(path).code == 404


def test_no_file_is_served_without_a_directory():
    assert serving(None).get("/MP_verify_Ab3dEf.txt").code == 404


def test_a_missing_directory_is_a_configuration_error(tmp_path):
    server = attrs.evolve(configuration().server, verify_files=tmp_path / "gone")
    assert any(
        "server.verify_files" in mistake
        for mistake in cfg.mistakes(attrs.evolve(configuration(), server=server))
    )
