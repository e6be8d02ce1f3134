"""The operator's evening, typed in Chinese: from nothing to an account that answers."""

from __future__ import annotations

import pytest

from tests.support.terminal import converse

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("systemd")]

ANSWERS = [
    ("服务商 [deepseek]:", "other"), ("base_url）:", "https://model.test:9443/v1"),
    ("密钥:", "sk-canary-key"), ("模型:", "demo"), ("要改就选 n） [Y/n]:", ""),
    ("example.com:", "chat.example.org"), ("AppID:", "wx0123456789"), ("就选 n） [Y/n]:", "是"),
    ("开机自动启动吗？ [Y/n]:", "是"), ("网站服务器", "none"), ("逐项检查吗？", "是"),
]  # fmt: skip
WXGPT = "/opt/wxgptd/bin/wxgpt"


def test_init_ends_with_a_daemon_that_answers(unit):
    machine = unit.machine
    machine.run("rm", "/etc/wxgptd/wxgptd.toml", "/etc/systemd/system/wxgptd.service",
                "/etc/systemd/system/wxgptd.socket")  # fmt: skip
    command = machine.entered("env", "WXGPT_LANG=zh", "NO_COLOR=1", "HOME=/root", WXGPT, "init")
    status, output, left = converse(command, ANSWERS, patience_s=180)
    assert (status, left) == (0, []), output
    assert "能回答。" in output
    assert "✔ 守护进程" in output
    assert "还要做：" in output
    assert "✔ 助手 chatgpt" in output
    assert "canary" not in output
    sent = machine.run(WXGPT, "send", "天为什么是蓝的？")
    assert "我是演示模型" in sent.stdout, sent.stdout + sent.stderr
