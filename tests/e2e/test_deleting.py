"""A conversation that is deleted on the history's page, checked on disk."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request

import pytest

from tests.eventlog.test_deleting import said
from wxgptd.eventlog import keyring, master_key, segments

pytestmark = pytest.mark.processes

SECRET, KEPT = "我的秘密是蓝莓果酱", "这句话留着"


class Page:
    """The page behind a link in the chat, in a browser that may write on it."""

    def __init__(self, stage, link: str) -> None:
        self.origin, self.path, secret = re.search(
            r"(https?://[^/]+)(/h/[\w-]+)#([\w-]+)", link
        ).groups()
        self.url = f"http://127.0.0.1:{stage.port}{self.path}"
        self.headers = {"Content-Type": "application/json", "Origin": self.origin}
        response = self._post("claim", {"secret": secret, "nonce": "n"})
        self.headers["Cookie"] = response.headers["Set-Cookie"].partition(";")[0]
        self.headers["X-Form-Token"] = json.loads(response.read())["form"]

    def _post(self, kind: str, body: dict):
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{kind}", data, self.headers)
        return urllib.request.urlopen(request, timeout=10)

    def post(self, kind: str, body: dict) -> int:
        try:
            with self._post(kind, body) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code


def test_the_words_of_a_deleted_conversation_leave_every_file(stage):
    stage.start_model()
    stage.configure_log('snapshot_every = 5\nsegment_size = "4KiB"')
    stage.start_daemon()
    for words in (SECRET, KEPT):
        stage.send("/chatgpt")
        stage.send(f"{words}，你说呢？")
        stage.send("/stop")
    page = Page(stage, stage.send("/history")["reply"])
    _, body = stage.get(page.path)
    oldest = re.findall(r'data-session="([^"]+)"', body)[-1]
    assert SECRET in body
    for _ in range(40):  # it counts as in use for twenty seconds after its last message
        status = page.post("delete", {"session": oldest})
        if status != 409:
            break
        time.sleep(1)
    assert status == 200
    _, body = stage.get(page.path)
    assert SECRET not in body
    assert KEPT in body
    log = segments.log_directory(stage.state)
    assert SECRET in words_in(stage, log)
    removed = stage.wxgpt("log", "vacuum")
    assert removed.returncode == 0, removed.stderr
    left = words_in(stage, log)
    assert SECRET not in left
    assert KEPT in left
    verified = stage.wxgpt("log", "verify")
    assert verified.returncode == 0, verified.stdout
    stage.kill()
    stage.start_daemon()
    _, body = stage.get(page.path)
    assert SECRET not in body
    assert KEPT in body
    stage.stop()
    assert SECRET not in words_in(stage, log)


def words_in(stage, log) -> str:
    """Return everything that the keys on disk still decrypt."""
    master = master_key.read_master(master_key.master_path(stage.state))
    return said(log, keyring.Keyring(segments.keyring_path(stage.state), master))
