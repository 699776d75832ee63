"""The files an operator gets for dashboards and alerts, and the names of metrics they speak of."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path("infra/observability")
METRIC = re.compile(r"\b(?:headrace|process)_\w+")


def alerts() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / "grafana-dashboard.json").read_text())["panels"])


def expressions() -> Iterator[str]:
    """All that is asked of Prometheus."""
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in panels() for target in panel.get("targets", ()))


def metrics() -> set[str]:
    return {name for expression in expressions() for name in METRIC.findall(expression)}
