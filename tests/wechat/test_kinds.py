"""wechatpy's tables are had without what else is in it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from wechatpy.events import EVENT_TYPES
from wechatpy.messages import MESSAGE_TYPES

from wxgptd.wechat import kinds

LOADED = "import sys, wxgptd.wechat.envelope; print(*sorted(sys.modules))"


def test_the_tables_are_wechatpy_s():
    assert kinds.MESSAGES.keys() == MESSAGE_TYPES.keys()
    assert kinds.EVENTS.keys() == EVENT_TYPES.keys()


@pytest.mark.processes
def test_neither_its_client_nor_requests_is_loaded():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, env={"PYTHONPATH": ".:cli"}
    )
    loaded = set(done.stdout.split())
    assert "wxgptd.wechat.kinds" in loaded, done.stderr
    assert not {
        name for name in loaded if name.split(".")[0] in ("wechatpy", "requests", "urllib3")
    }


def test_wechatpy_itself_can_still_be_imported_afterwards():
    import wechatpy

    assert wechatpy.WeChatClient
