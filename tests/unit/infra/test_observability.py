"""Alert rules, scrape configuration and dashboard, checked with promtool."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.monitoring_files import (
    OBSERVABILITY_FOLDER,
    list_promql_queries,
    load_alert_rules,
    load_dashboard_panels,
)

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed; .ci/run takes it from the package prometheus"
)


def promtool(*arguments: str) -> str:
    result = subprocess.run(("promtool", *arguments), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@needs_promtool
def test_alert_rules_pass_their_promtool_tests() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(OBSERVABILITY_FOLDER / "alerts_test.yml"))


@needs_promtool
def test_the_scrape_configuration_is_valid() -> None:
    assert "SUCCESS" in promtool("check", "config", str(OBSERVABILITY_FOLDER / "prometheus.yml"))


@needs_promtool
def test_dashboard_queries_are_valid_promql(tmp_path: Path) -> None:
    rules = [{"record": f"asked:{number}", "expr": text} for number, text in enumerate(list_promql_queries())]
    file = tmp_path / "asked.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_every_alert_is_tested_firing_and_silent() -> None:
    tests = yaml.safe_load((OBSERVABILITY_FOLDER / "alerts_test.yml").read_text())["tests"]
    names = {rule["alert"] for rule in load_alert_rules()}
    quiet = {rule_test["alertname"] for rule_test in tests[0]["alert_rule_test"]}
    fired = {
        rule_test["alertname"] for test in tests for rule_test in test["alert_rule_test"] if rule_test.get("exp_alerts")
    }
    expressions_text = str([test.get("promql_expr_test") for test in tests])
    assert quiet == names
    assert {name for name in names if name not in expressions_text} == fired


@pytest.mark.parametrize("rule", load_alert_rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert rule["annotations"]["runbook"].endswith(".")


def test_the_dashboard_rows_are_in_the_intended_order() -> None:
    rows = [panel["title"] for panel in load_dashboard_panels() if panel["type"] == "row"]
    assert rows == ["Health", "Queue", "Runners", "Latency", "Lags", "Processes"]


def test_no_dashboard_panel_overlaps_another() -> None:
    cells = [
        (x, y)
        for position in (panel["gridPos"] for panel in load_dashboard_panels())
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in load_dashboard_panels()}) == len(load_dashboard_panels())
