"""The dashboard and the alerts use existing metrics, and the alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgptd import config as cfg
from wxgptd.admin.gauges import Gauges

ETC = Path(__file__).parent.parent / "etc"
ALERTS = ETC / "prometheus-alerts.yml"
DASHBOARD = json.loads((ETC / "grafana-dashboard.json").read_text("utf-8"))
EXPRESSIONS = [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]


@pytest.fixture(scope="module")
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return path


@pytest.fixture(scope="module")
def series() -> set[str]:
    """The names of all series exported by a daemon that has handled every kind of message."""
    rules = (
        cfg.Rule(match="keyword", words=cfg.Words(("价格",)), reply=cfg.RuleReply(text="十元")),
        cfg.Rule(match="any", forward="http://nobody.test/wx"),
    )
    account = cfg.Account(token=cfg.Secret("storytoken"), app_id="wx1", app_secret=cfg.Secret("x"))
    story = Story(answer_at(1, "好的。"), configuration(rule=rules, account={"main": account}))
    story.say("价格")
    story.send("别的", user="stranger")
    story.open()
    story.send("问题")
    story.get("/wx/main?signature=" + "0" * 40 + "&timestamp=1700000000&nonce=1&echostr=x")
    story.advance(6)
    registry = story.service.base.metrics.registry
    in_cluster = replace(
        story.service.status(),
        cluster_leading=True,
        cluster_events_behind=0,
        cluster_silent_s=0.0,
        cluster_takeovers=1,
        cluster_claims_lost=0,
        cluster_commit_s=story.service.status().log_fsync_s,
    )
    clustered = CollectorRegistry()
    clustered.register(Gauges(lambda: in_cluster))
    metrics = generate_latest(registry).decode() + generate_latest(clustered).decode()
    return set(re.findall(r"^([a-z_]+)[ {]", metrics, re.MULTILINE))


def names(expression: str) -> set[str]:
    return set(re.findall(r"\b((?:wxgptd|process)_[a-z_]+)\b", expression))


def test_every_panel_uses_existing_metrics(series):
    assert len(EXPRESSIONS) > 25
    for expression in EXPRESSIONS:
        assert names(expression)
        assert names(expression) <= series, expression


def test_every_alert_uses_existing_metrics(series):
    assert names(ALERTS.read_text("utf-8")) - {"wxgptd_alerts"} <= series


def test_every_metric_is_on_the_dashboard(series):
    shown = set().union(*map(names, EXPRESSIONS))
    own = {name for name in series if name.startswith("wxgptd_")}
    own = {re.sub(r"_(bucket|sum|count|created|total)$", "", name) for name in own}
    shown = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in shown}
    hidden = {
        "wxgptd_build_info", "wxgptd_disk_full", "wxgptd_log_last_seq", "wxgptd_log_snapshot_seq",
        "wxgptd_log_pending_appends", "wxgptd_replay_seconds", "wxgptd_replay_events",
        "wxgptd_questions", "wxgptd_sessions_opened", "wxgptd_restarted_answers",
        "wxgptd_pages_opened", "wxgptd_push_usable", "wxgptd_pushes",
        "wxgptd_cluster_takeovers", "wxgptd_cluster_claims_lost", "wxgptd_cluster_silent_seconds",
    }  # fmt: skip
    assert own - shown <= hidden


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.processes
def test_prometheus_accepts_the_alerts(promtool):
    checked = subprocess.run([promtool, "check", "rules", ALERTS], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.processes
def test_prometheus_accepts_every_dashboard_expression(promtool, tmp_path):
    rules = [
        {
            "record": f"panel:{number}",
            "expr": expression.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for number, expression in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "panels.json"  # JSON is valid YAML
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def fires(alert: str, at: str, series: dict[str, str], **labels: str) -> dict[str, object]:
    """Return a promtool test: whether `alert` fires at time `at`, given one value a minute."""
    expected = [{"exp_labels": labels}] if labels else []
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": expected}],
    }


@pytest.mark.processes
def test_alerts_fire_when_they_should_and_not_before(promtool, tmp_path):
    alone = {'wxgptd_circuit_breaker_open{assistant="a",instance="i"}': "0 1x20"}
    late = {
        'wxgptd_windows_total{account="m",outcome="link",attempt="3",instance="i"}': "0+2x60",
        'wxgptd_windows_total{account="m",outcome="answer",attempt="1",instance="i"}': "0+1x60",
    }
    quick = {name: values for name, values in late.items() if "answer" in name}
    failing = {
        'wxgptd_answers_total{assistant="a",outcome="unavailable",instance="i"}': "0+1x60",
        'wxgptd_answers_total{assistant="a",outcome="completed",instance="i"}': "0+1x60",
    }
    tests = [
        fires("WxgptdModelLeftAlone", "2m", alone),
        fires("WxgptdModelLeftAlone", "4m", alone, assistant="a", instance="i", severity="critical"),
        fires("WxgptdAnswersLate", "50m", late, account="m", instance="i", severity="warning"),
        fires("WxgptdAnswersLate", "50m", quick),
        fires("WxgptdAnswersFailing", "30m", failing, assistant="a", instance="i", severity="warning"),
        fires("WxgptdTimeoutsSpent", "5m", {'wxgptd_deliberate_timeouts_left{account="m"}': "60 0x9"},
              account="m", severity="warning"),
        fires("WxgptdNotReady", "9m", {'wxgptd_ready{instance="b"}': "0x9",
                                       'wxgptd_cluster_leading{instance="b"}': "0x9"}),
        fires("WxgptdNotReady", "9m", {'wxgptd_ready{instance="b"}': "0x9"},
              instance="b", severity="critical"),
        fires("WxgptdNoLeader", "5m", {'wxgptd_cluster_leading{job="wxgptd",instance="a"}': "0x9",
                                       'wxgptd_cluster_leading{job="wxgptd",instance="b"}': "0x9"},
              job="wxgptd", severity="critical"),
        fires("WxgptdNoLeader", "5m", {'wxgptd_cluster_leading{job="wxgptd",instance="a"}': "1x9",
                                       'wxgptd_cluster_leading{job="wxgptd",instance="b"}': "0x9"}),
        fires("WxgptdNoStandby", "9m", {'wxgptd_cluster_leading{job="wxgptd",instance="a"}': "1x9"},
              job="wxgptd", severity="warning"),
        fires("WxgptdNoQuorum", "5m", {'wxgptd_cluster_commit_seconds_count{instance="a"}': "7x9",
                                       'wxgptd_log_pending_appends{instance="a"}': "3x9"},
              instance="a", severity="critical"),
        fires("WxgptdStandbyLags", "9m", {'wxgptd_cluster_events_behind{instance="b"}': "5000x9"},
              instance="b", severity="warning"),
        fires("WxgptdDown", "5m", {'up{job="wxgptd",instance="i"}': "1 0x9"},
              job="wxgptd", instance="i", severity="critical"),
    ]  # fmt: skip
    # Annotations are not compared, only whether an alert fires and its labels.
    text = re.sub(r"(?m)^        annotations:\n(          .*\n)+", "", ALERTS.read_text("utf-8"))
    (tmp_path / "alerts.yml").write_text(text)
    path = tmp_path / "tests.json"
    path.write_text(
        json.dumps({"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": tests})
    )
    completed = subprocess.run(
        [promtool, "test", "rules", path], capture_output=True, text=True, cwd=tmp_path
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
