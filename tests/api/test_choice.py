"""The fields that say which of several models is to be taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from cinelet.clock import SystemClock
from cinelet.domain.request import Task
from cinelet.resilience import FallbackBackend
from cinelet.resilience.prices import PriceTable
from cinelet.testing import FakeBackend
from tests.api.served import SHORT, Served, made
from tests.resilience.doubles import as_named, selector

DEAR, CHEAP = "hf:org/dear:fal-ai", "hf:org/cheap:together"
PRICES = f'[models."{DEAR}"]\nper_video_second = 2.0\n[models."{CHEAP}"]\nper_video_second = 0.1\n'

CHOICE = {"prefer": "balanced", "max_cost": 0.5, "max_seconds": 900.0}


def test_what_is_said_of_the_choice_is_kept_with_the_request(client: httpx2.Client) -> None:
    reply = client.post("/v1/text-to-video", json={"prompt": "a gull", **SHORT, **CHOICE})
    assert reply.status_code == 202
    assert reply.json()["request"].items() >= CHOICE.items()


@pytest.mark.parametrize("values", [CHOICE, {name: str(value) for name, value in CHOICE.items()}])
def test_the_openai_shape_takes_it_as_well(values: dict[str, object], client: httpx2.Client) -> None:
    video = client.post("/v1/videos", json={"prompt": "a gull", "seconds": 1, **values})
    assert video.status_code == 200, video.text
    request = client.get(f"/v1/generations/{video.json()['id']}").json()["request"]
    assert request.items() >= CHOICE.items()


@pytest.mark.parametrize("path", ["/v1/text-to-video", "/v1/videos"])
@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"prefer": "quickest"}, "'ordered', 'fastest', 'most_reliable', 'cheapest' or 'balanced'"),
        ({"max_cost": 0}, "0"),
        ({"max_seconds": -1}, "0"),
    ],
)
def test_a_wrong_choice_is_refused_by_name_and_says_what_is_allowed(
    path: str, values: dict[str, object], allowed: str, client: httpx2.Client, backend: FakeBackend
) -> None:
    prompt = f"a gull that nobody makes {path} {values}"
    reply = client.post(path, json={"prompt": prompt, **values})
    (field,) = values
    error = reply.json()["error"]
    assert reply.status_code in {400, 422}
    assert error["param"] == field
    assert allowed in error["message"]
    assert not any(asked.prompt == prompt for asked in backend.requests)


@pytest.fixture(scope="module")
def choosing(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A service whose "auto" is one of two models with prices."""
    folder = tmp_path_factory.mktemp("choosing")
    (folder / "prices.toml").write_text(PRICES)

    def make_backend() -> FallbackBackend:
        backend, models = FakeBackend(ignores=["guidance_scale"]), dict.fromkeys(Task, (DEAR, CHEAP))
        chooser = selector(backend, auto_models=models, cost=PriceTable.parse(PRICES).cost, clock=SystemClock())
        return FallbackBackend(backend, expand=as_named, fallbacks={}, clock=SystemClock(), selector=chooser)

    data = copy_data(folder / "data")
    with Served(data, make_backend=make_backend, cinelet_prices=folder / "prices.toml") as served:
        yield served.client


def test_auto_is_made_by_one_of_its_models_and_says_which_and_why(choosing: httpx2.Client) -> None:
    generation = made(choosing, model="auto", prefer="cheapest")
    assert (generation["requested_model"], generation["model"]) == ("auto", CHEAP)
    assert generation["attempts"][0]["why"].startswith("cheapest: costs 0.1")
    (change,) = [change for change in generation["adjustments"] if change["parameter"] == "model"]
    assert change["applied"] == CHEAP
    assert DEAR in change["reason"]


def test_nothing_that_fits_is_refused_with_the_reason_of_each(choosing: httpx2.Client) -> None:
    body = {"prompt": "a gull", "model": "auto", "max_cost": 0.01, **SHORT}
    for path in ("/v1/text-to-video", "/v1/estimate"):
        reply = choosing.post(path, json=body)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (422, "no_model_fits", "model")
        assert set(error["details"]["models"]) == {DEAR, CHEAP}
    assert not [one for one in choosing.get("/v1/generations").json()["data"] if one["request"].get("max_cost") == 0.01]


def test_an_estimate_says_which_would_run_and_why_what_it_costs_and_what_would_change(choosing: httpx2.Client) -> None:
    body = {"model": "auto", "prefer": "cheapest", "duration": 4, "guidance_scale": 3}
    found = choosing.post("/v1/estimate", json=body).json()
    assert (found["requested_model"], found["model"]) == ("auto", CHEAP)
    assert [one["model"] for one in found["order"]] == [CHEAP, DEAR]
    assert found["why"] == found["order"][0]["why"]
    assert found["why"].startswith("cheapest: ")
    assert (found["cost"], found["cost_basis"]) == (0.4, "0.1 a second of video, by the price table")
    assert found["adjustments"] == [
        {
            "parameter": "guidance_scale",
            "requested": 3.0,
            "applied": None,
            "reason": "the model has no such parameter",
        }
    ]
    assert [one["cost"] for one in found["order"]] == [0.4, 8.0]


def test_what_costs_too_much_is_left_out(choosing: httpx2.Client) -> None:
    found = choosing.post("/v1/estimate", json={"model": "auto", "max_cost": 1, "duration": 4}).json()
    assert found["model"] == CHEAP
    assert found["left_out"] == [{"model": DEAR, "reason": "it is expected to cost 8, and max_cost is 1"}]


def test_auto_can_be_asked_about(choosing: httpx2.Client) -> None:
    known = choosing.get("/v1/models/auto").json()
    assert (known["id"], known["tasks"]) == ("auto", ["image-to-video", "text-to-video"])
    assert known["description"] == f"Chooses among {DEAR}, {CHEAP} by how they perform."
    assert "auto" in [model["id"] for model in choosing.get("/v1/models").json()["data"]]
