"""The fields that say which of several models is to be taken."""

from __future__ import annotations

import httpx2
import pytest

from cinelet.testing import FakeBackend
from tests.api.served import SHORT

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
