"""Alert rules, scrape configuration and dashboard: what Prometheus' own tool says of them, and what people need."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.observability import FOLDER, alerts, expressions, panels

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed; .ci/run takes it from the package prometheus"
)


def promtool(*arguments: str) -> str:
    done = subprocess.run(("promtool", *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_promtool
def test_the_rules_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(FOLDER / "alerts_test.yml"))


@needs_promtool
def test_the_scrape_configuration_is_valid() -> None:
    assert "SUCCESS" in promtool("check", "config", str(FOLDER / "prometheus.yml"))


@needs_promtool
def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    rules = [{"record": f"asked:{number}", "expr": text} for number, text in enumerate(expressions())]
    file = tmp_path / "asked.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_every_alert_is_tested_both_ways() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    names = {rule["alert"] for rule in alerts()}
    quiet = {one["alertname"] for one in tests[0]["alert_rule_test"]}
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    asked = str([test.get("promql_expr_test") for test in tests])
    assert quiet == names
    assert {name for name in names if name not in asked} == fired


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_where_to_begin(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert rule["annotations"]["runbook"].endswith(".")


def test_the_dashboard_answers_the_first_question_first() -> None:
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows == ["Is it working?", "Queue", "Runners", "Latency", "Lags", "Processes"]


def test_no_panel_covers_another() -> None:
    places = [
        (x, y)
        for where in (panel["gridPos"] for panel in panels())
        for x in range(where["x"], where["x"] + where["w"])
        for y in range(where["y"], where["y"] + where["h"])
    ]
    assert len(places) == len(set(places))
    assert len({panel["id"] for panel in panels()}) == len(panels())
