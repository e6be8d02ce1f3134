"""wechatpy's tables are used without importing the rest of wechatpy."""

from __future__ import annotations

import subprocess
import sys

import pytest
from wechatpy.events import EVENT_TYPES
from wechatpy.messages import MESSAGE_TYPES

from wxgptd.wechat import kinds

LOADED = "import sys, wxgptd.wechat.envelope; print(*sorted(sys.modules))"


def test_the_tables_match_wechatpy_s():
    assert kinds.MESSAGES.keys() == MESSAGE_TYPES.keys()
    assert kinds.EVENTS.keys() == EVENT_TYPES.keys()


@pytest.mark.processes
def test_neither_wechatpy_s_client_nor_requests_is_loaded():
    completed = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, env={"PYTHONPATH": ".:cli"}
    )
    loaded = set(completed.stdout.split())
    assert "wxgptd.wechat.kinds" in loaded, completed.stderr
    assert not {
        name for name in loaded if name.split(".")[0] in ("wechatpy", "requests", "urllib3")
    }


def test_wechatpy_can_still_be_imported_afterwards():
    import wechatpy

    assert wechatpy.WeChatClient
