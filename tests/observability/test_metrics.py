"""What is counted: each metric under its name, with labels that have an end."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from cinelet.domain.condition import CircuitCondition, Condition, Device, LoadedModel
from cinelet.domain.model import ModelReference
from cinelet.observability import exposition, metrics
from cinelet.observability.condition_metrics import ConditionMetrics
from cinelet.observability.exposition import ProcessMetrics
from cinelet.resilience import host_of
from tests.observability.counted import counting, fresh_names
from tests.storage.maker import a_request, a_result

PROMPT = "a very secret gull"


def shown(*collectors, process="here"):
    """Return the samples that a scraper reads, by name."""
    text = exposition.PLAIN.write(ProcessMetrics(process, *collectors)).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


@pytest.fixture(autouse=True)
def nobody_is_known():
    with fresh_names():
        yield


def provider_of(circuit):
    return host_of(ModelReference.parse(circuit))


def test_everything_that_is_shown_is_declared_with_its_labels():
    metrics.replied("GET", "/v1/models", 200, 0.01)
    condition = Condition(
        Device("cuda:0", 100, 50, 30, 40),
        (LoadedModel("embedded", "cpu", bytes=2, estimated_bytes=3),),
        (CircuitCondition("hf:org/name:fal-ai", "open", 5, 9.0),),
    )
    for sample in shown(ConditionMetrics(lambda: condition, provider_of=provider_of)):
        name, labels = sample.name, set(sample.labels) - {"process"}
        for suffix in ("_bucket", "_sum", "_count"):
            if (base := name.removesuffix(suffix)) in metrics.DECLARED and metrics.DECLARED[base].kind == "histogram":
                name, labels = base, labels - {"le"}
        assert set(metrics.DECLARED[name].labels) == labels, name


def test_every_sample_says_whose_it_is():
    assert {sample.labels["process"] for sample in shown(process="local cuda:0")} == {"local cuda:0"}


def test_when_a_series_began_is_not_shown():
    metrics.replied("GET", "/v1/models", 200, 0.01)
    assert not [sample.name for sample in shown() if sample.name.endswith("_created")]


def test_a_video_counts_with_all_its_stages(tmp_path: Path):
    result = a_result(
        tmp_path,
        b"video",
        request=a_request(prompt=PROMPT),
        model="embedded",
        applied={"num_inference_steps": 4, "frames_made": 9},
        timings={"loading": 1.0, "denoising": 2.0},
        cache="made",
    )
    with counting() as counted:
        metrics.answered(result)
    assert counted.of("cinelet_videos_total", model="embedded") == 1
    assert counted.of("cinelet_video_seconds_total", model="embedded") == 1.5
    assert counted.of("cinelet_video_bytes_total", model="embedded") == 5
    assert counted.of("cinelet_stage_seconds_sum", model="embedded", stage="loading") == 1.0
    assert counted.of("cinelet_step_seconds_sum", model="embedded") == 0.5
    assert counted.of("cinelet_making_seconds_sum", model="embedded") == 2.5
    assert counted.of("cinelet_seconds_per_video_second_sum", model="embedded") == pytest.approx(2.5 / 1.5)
    assert counted.of("cinelet_cache_answers_total", answer="made") == 1
    assert PROMPT.encode() not in exposition.PLAIN.write(ProcessMetrics("here"))


@pytest.mark.parametrize("answer", ["hit", "joined"])
def test_a_video_that_somebody_else_had_made_is_not_made_again(answer, tmp_path: Path):
    with counting() as counted:
        metrics.answered(a_result(tmp_path, b"video", request=a_request(), cache=answer))
    assert counted.of("cinelet_cache_answers_total", answer=answer) == 1
    assert counted.of("cinelet_videos_total") == counted.of("cinelet_stage_seconds_count") == 0


def test_a_model_that_made_a_video_is_known_from_then_on():
    with counting() as counted:
        metrics.attempted("hf:org/unheard-of:wavespeed", "wavespeed", "rate_limited")
        metrics.attempted("hf:org/unheard-of:wavespeed", "wavespeed", None)
        metrics.attempted("hf:org/unheard-of:wavespeed", "wavespeed", "rate_limited")
    failed = {"name": "cinelet_attempts_total", "outcome": "rate_limited"}
    assert counted.of(**failed, model="other", provider="other") == 1
    assert counted.of(**failed, model="hf:org/unheard-of:wavespeed", provider="wavespeed") == 1


def test_a_thousand_models_are_few_labels():
    for number in range(1000):
        metrics.attempted(f"hf:org/name-{number}:fal-ai", "fal-ai", None)
    labels = {sample.labels["model"] for sample in shown() if sample.name == "cinelet_attempts_total"}
    assert "other" in labels
    assert len([label for label in labels if label.startswith("hf:org/name-")]) == metrics.MAX_MODELS


def test_a_method_and_a_path_that_nobody_serves_are_other():
    with counting() as counted:
        metrics.replied("BREW", None, 404, 0.01)
    assert counted.of("cinelet_http_requests_total", method="other", route="other", status="4xx") == 1


def test_the_counters_that_others_use_take_what_they_give():
    metrics.know(models=["embedded"])
    with counting() as counted:
        metrics.charged("embedded", None, "USD", 0.25)
        metrics.chosen("embedded", "balanced")
    assert counted.of("cinelet_cost_total", model="embedded", provider="local", currency="USD") == 0.25
    assert counted.of("cinelet_choices_total", model="embedded", strategy="balanced") == 1


def test_ends_are_there_before_the_first_one():
    assert {"remote", "local"} <= {
        sample.labels["queue"] for sample in shown() if sample.name == "cinelet_generations_ended_total"
    }


def test_the_memory_of_models_with_the_same_label_is_added():
    models = tuple(LoadedModel(f"local:./{name}", "cpu", bytes=2, estimated_bytes=3) for name in "ab")
    found = {
        (sample.labels["model"], sample.labels["kind"]): sample.value
        for sample in shown(ConditionMetrics(lambda: Condition(models=models), provider_of=provider_of))
        if sample.name == "cinelet_model_memory_bytes"
    }
    assert found == {("other", "real"): 4, ("other", "estimated"): 6}


def test_a_circuit_that_has_closed_is_still_told_of():
    circuits = [(CircuitCondition("https://h.example/x", "open", 5, 9.0),), ()]
    metrics.know(providers=["fal-ai"])
    readings = ConditionMetrics(lambda: Condition(circuits=circuits.pop(0)), provider_of=lambda _: "fal-ai")
    for expected in (1, 0):
        told = {sample.labels["state"]: sample.value for sample in shown(readings) if sample.name == "cinelet_circuits"}
        assert told == {"open": expected, "probing": 0, "closed": 0}


@pytest.mark.parametrize(
    ("written", "parse"),
    [(exposition.PLAIN, text_string_to_metric_families), (exposition.OPENMETRICS, openmetrics_families)],
    ids=["plain", "openmetrics"],
)
def test_several_processes_are_one_answer_with_all_that_each_said(written, parse):
    texts = {process: written.write(ProcessMetrics(process)) for process in ("api", "remote", "local cuda:0")}
    families = list(parse(exposition.together(texts.values(), written).decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    together = {str(sample) for family in families for sample in family.samples}
    alone = {str(sample) for text in texts.values() for family in parse(text.decode()) for sample in family.samples}
    assert together == alone
    types = {family.name: family.type for family in families}
    assert types == {family.name: family.type for family in parse(texts["api"].decode())}


def test_nobody_is_one_answer_too():
    assert exposition.together([], exposition.OPENMETRICS) == b"# EOF\n"


def test_a_help_text_in_a_label_begins_no_family():
    text = b'# HELP a b\n# TYPE a counter\na_total{x="\\n# HELP c d"} 1.0\n'
    assert exposition.together([text, text], exposition.PLAIN).count(b"# TYPE") == 1


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", exposition.PLAIN),
        ("*/*", exposition.PLAIN),
        ("text/html, text/plain;version=0.0.4;q=0.3", exposition.PLAIN),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", exposition.OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; escaping=allow-utf-8;q=0.6", exposition.OPENMETRICS),
    ],
)
def test_the_format_is_what_the_scraper_asks_for(accept, expected):
    assert exposition.format_for(accept) is expected
