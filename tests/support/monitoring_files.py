"""The shipped dashboard and alert rules, and the names of the metrics they use."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

OBSERVABILITY_FOLDER = Path("infra/observability")
METRIC_NAME = re.compile(r"\b(?:headrace|process)_\w+")


def load_alert_rules() -> list[dict[str, Any]]:
    [group] = yaml.load((OBSERVABILITY_FOLDER / "alerts.yml").read_text(), yaml.CSafeLoader)["groups"]
    return list(group["rules"])


def load_dashboard_panels() -> list[dict[str, Any]]:
    return list(json.loads((OBSERVABILITY_FOLDER / "grafana-dashboard.json").read_text())["panels"])


def list_promql_queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in load_alert_rules())
    yield from (target["expr"] for panel in load_dashboard_panels() for target in panel.get("targets", ()))


def list_metric_names() -> set[str]:
    return {name for expression in list_promql_queries() for name in METRIC_NAME.findall(expression)}
