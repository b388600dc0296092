from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cinelet.domain.errors import (
    CapacityError,
    CineletError,
    DeadlineExceededError,
    FileSizeError,
    HuggingFaceAPIError,
    ProcessingError,
    RateLimitError,
    SubmissionUnknownError,
    ValidationError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.result import Attempt
from cinelet.domain.video import VideoResult
from cinelet.resilience import Price, PriceTable
from cinelet.resilience.attempts import failed
from cinelet.resilience.billing import billed, priced
from tests.storage.maker import a_request, a_result

PRICES = PriceTable(
    currency="EUR",
    models={"hf:org/name:fal-ai": Price(per_video=0.1, per_video_second=0.2)},
    local=Price(per_video=0.5, per_compute_second=0.01),
)


def result(tmp_path: Path, model: str, **values: object) -> VideoResult:
    """Return a video of 1.5 s that took 1.25 s."""
    return a_result(tmp_path, b"video", request=a_request(model="hf:org/name"), **{"model": model, **values})


def test_a_video_costs_what_its_model_costs_where_it_ran(tmp_path: Path) -> None:
    made = billed(result(tmp_path, "hf:org/name:fal-ai"), PRICES)
    assert (made.cost, made.currency) == (0.4, "EUR")
    assert [attempt.cost for attempt in made.attempts] == [0.4]
    assert made.to_dict()["cost"] == 0.4
    assert made.to_dict()["currency"] == "EUR"


@pytest.mark.parametrize("model", ["hf:org/name:replicate", "plugin:model", "not a reference"])
def test_the_cost_of_a_model_without_a_price_is_unknown(tmp_path: Path, model: str) -> None:
    made = billed(result(tmp_path, model), PRICES)
    assert made.cost is None
    assert made.to_dict()["attempts"][0]["cost"] is None


@pytest.mark.parametrize("how", ["hit", "joined"])
def test_what_was_not_made_for_this_request_costs_nothing(tmp_path: Path, how: str) -> None:
    made = billed(result(tmp_path, "hf:org/name:fal-ai", cache=how), PRICES)
    assert made.cost == 0
    assert billed(replace(made, model="hf:org/unpriced", cost=None), PRICES).cost == 0


def test_compute_seconds_are_those_of_the_stages_and_a_share_of_a_run_for_several(tmp_path: Path) -> None:
    timings = {"loading": 2.0, "denoising": 8.0, "encoding": 1.0, "probing": 50.0, "downloading": 50.0}
    alone = billed(result(tmp_path, "local:org/name", timings=timings), PRICES)
    assert alone.cost == 0.5 + 0.11
    shared = billed(result(tmp_path, "local:org/name", timings=timings, applied={"together": 4}), PRICES)
    assert shared.cost == 0.5 + 0.035


def attempt(model: str, error: CineletError) -> Attempt:
    (known,) = priced([failed(ModelReference.parse(model), error, seconds=30)], PRICES)
    return known


@pytest.mark.parametrize(
    "error",
    [
        HuggingFaceAPIError("it is busy", status=503),
        RateLimitError("slower", status=429),
        CapacityError("full"),
        ValidationError("no"),
    ],
)
def test_a_failure_before_the_host_took_the_work_costs_nothing(error: CineletError) -> None:
    known = attempt("hf:org/name:fal-ai", error)
    assert (known.cost, known.may_be_billed) == (0, False)


@pytest.mark.parametrize(
    "error",
    [
        HuggingFaceAPIError("it failed", accepted=True),
        SubmissionUnknownError("the connection broke"),
        DeadlineExceededError("too late"),
        ProcessingError("no video", "probe"),
        FileSizeError(2, 1, "video"),
        CineletError("anything"),
    ],
)
def test_a_failure_after_it_may_be_billed_and_nobody_knows_how_much(error: CineletError) -> None:
    known = attempt("hf:org/name:fal-ai", error)
    assert (known.cost, known.may_be_billed) == (None, True)
    assert known.to_dict()["may_be_billed"] is True


def test_a_failure_on_this_machine_costs_its_time_and_nobody_bills_it() -> None:
    known = attempt("local:org/name", ProcessingError("no", "denoising"))
    assert (known.cost, known.may_be_billed) == (0.3, False)


def test_a_failure_of_a_plugin_without_a_price_is_unknown() -> None:
    known = attempt("plugin:model", ProcessingError("no", "denoising"))
    assert (known.cost, known.may_be_billed) == (None, False)
