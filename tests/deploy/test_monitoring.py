"""The dashboard, the alerts and the scrape configuration name what exists, and explain themselves."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cinelet.observability.metrics import DECLARED
from tests.deploy.promql import labels_of, labels_of_metric

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana" / "dashboards" / "cinelet.json").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ROWS = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
TRIALS: dict[str, Any] = yaml.safe_load((FOLDER / "alerts.test.yml").read_text(encoding="utf-8"))
PROMTOOL = shutil.which("promtool")
VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$model": ".*"}


def queries() -> Iterator[Any]:
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield pytest.param(expression, target["legendFormat"], id=f"{panel['title']} {target['refId']}")


@pytest.mark.parametrize(("expression", "legend"), list(queries()))
def test_a_panel_asks_for_what_exists_and_names_its_series(expression: str, legend: str) -> None:
    assert "$" not in expression
    labels = labels_of(expression)
    named = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert named <= labels
    assert labels <= named | {"process", "instance", "job"}, "two series would have the same name"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${source}"}


def test_panels_have_their_own_ids_names_and_places() -> None:
    for name in ("id", "title"):
        values = [panel[name] for panel in DASHBOARD["panels"]]
        assert len(values) == len(set(values))
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x, y in itertools.product(
            range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"]),
            range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"]),
        )
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24


def test_the_dashboard_has_a_row_for_each_question() -> None:
    titles = " ".join(row["title"] for row in ROWS).lower()
    assert all(word in titles for word in ("service", "queue", "models", "providers", "memory", "cache"))


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = json.dumps(DASHBOARD) + json.dumps(RULES)
    unseen = {name for name in DECLARED if name not in asked}
    assert unseen == {
        "cinelet_making_seconds",  # the pace, for each second of video, says it better
        "cinelet_video_bytes_total",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
    }


def test_a_variable_lists_what_exists() -> None:
    (model,) = [variable for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", model["query"]["query"])
    assert found
    assert found[2] in labels_of_metric(found[1])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_exists_and_says_what_to_do(rule: dict[str, Any]) -> None:
    labels = labels_of(rule["expr"])
    texts = [rule["annotations"][name] for name in ("summary", "description")]
    for text in texts:
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels
        assert text.count("{{") == text.count("}}") == len(re.findall(r"\$(?:labels|value)", text))
    assert rule["labels"]["severity"] in {"warning", "critical"}


def test_alerts_have_their_own_names() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))


def test_the_series_that_the_rules_are_tried_with_could_be_scraped() -> None:
    assert TRIALS["rule_files"] == ["alerts.yml"]
    for trial in TRIALS["tests"]:
        for series in trial["input_series"]:
            labels_of(series["series"])
        assert {case["alertname"] for case in trial["alert_rule_test"]} <= {rule["alert"] for rule in RULES}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (of Prometheus) is not installed")
def test_alerts_come_where_they_should_and_only_there() -> None:
    command = [str(PROMTOOL), "test", "rules", str(FOLDER / "alerts.test.yml")]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 0, found.stdout + found.stderr
