"""The look into expressions finds what would show nothing."""

from __future__ import annotations

import pytest

from tests.deploy.promql import UnknownNameError, labels_of


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("cinelet_invented", "no metric cinelet_invented"),
        ("rate(cinelet_videos[5m])", "no metric cinelet_videos"),
        ("rate(cinelet_stage_seconds[5m])", "is a histogram"),
        ("cinelet_videos_total_bucket", "no metric"),
        ('cinelet_videos_total{prompt="x"}', "prompt is no label"),
        ("sum by (owner) (cinelet_videos_total)", "owner is no label"),
        ("sum by (model) (sum by (process) (cinelet_videos_total))", "model is no label"),
        ("histogram_quantile(0.9, sum by (model) (rate(cinelet_stage_seconds_bucket[5m])))", "le is no label"),
        ("sum by (queue) (cinelet_workers) / sum by (model) (cinelet_videos_total)", "never match"),
        ("cinelet_workers and on (model) cinelet_videos_total", "model is no label"),
    ],
)
def test_a_name_that_nobody_declares_is_found(expression: str, why: str) -> None:
    with pytest.raises(UnknownNameError, match=why):
        labels_of(expression)


def test_what_is_no_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        labels_of("sum by (")


def test_the_labels_of_a_result_are_those_that_are_left() -> None:
    assert labels_of('sum by (model) (rate(cinelet_videos_total{process="api"}[5m])) > 0') == {"model"}
    assert labels_of("topk(3, sum by (model, stage) (rate(cinelet_stage_seconds_sum[5m])))") == {"model", "stage"}
    assert labels_of("max(cinelet_cache_bytes)") == set()
    assert "le" not in labels_of("histogram_quantile(0.9, rate(cinelet_queue_wait_seconds_bucket[5m]))")
