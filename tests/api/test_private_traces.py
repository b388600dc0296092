"""Whatever is private, wherever it is in a request: it is in no line of the log, and in no span."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cinelet.domain.errors import ProcessingError
from cinelet.jobs.keys import Keys
from cinelet.testing import FakeBackend
from tests.api.served import Served
from tests.spans import recorded

TOKEN = "hf_" + "q" * 34
WORDS = ("grey", "heron", "unit", "forty-two", "über", "\n", '"', "'", "\\", "…", "%s", "{}", "🎬")


def private_text(chance: random.Random) -> str:
    """Return a text that no message of ours holds by chance."""
    return f"zq {' '.join(chance.choices(WORDS, k=chance.randint(3, 8)))} qz"


class Chatty(FakeBackend):
    """Fails with all that it knows, now and then."""

    def _generate(self, request, context):
        if request.negative_prompt and "unit" in request.negative_prompt:
            raise RuntimeError(f"cannot draw {request.prompt!r} without {request.negative_prompt} for {TOKEN}")
        if request.prompt and "forty-two" in request.prompt:
            raise ProcessingError(f"Cannot draw {request.prompt}", "denoising")
        return super()._generate(request, context)


@pytest.fixture(scope="module")
def served(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = copy_data(tmp_path_factory.mktemp("private") / "data")
    with Served(data, make_backend=Chatty, hf_token=TOKEN, cinelet_webhook_allow_private=True) as served:
        yield served


@pytest.fixture(scope="module")
def secret(served: Served) -> str:
    _, secret = served.with_database(lambda database: Keys(database).create("site"))
    return secret


# Not Hypothesis's: it wants nobody else to use `random`, and a service in a thread does.
@pytest.mark.parametrize("seed", range(15))
def test_what_is_private_is_in_no_line_and_no_span(
    served: Served, secret: str, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    chance = random.Random(seed)
    prompt, negative, elsewhere = (private_text(chance) for _ in range(3))
    headers = {"authorization": f"Bearer {secret}", "prefer": "wait=30"}
    body = {"prompt": prompt, "negative_prompt": negative, "duration": 1, "fps": 4}
    hook = {"webhook_url": "http://127.0.0.1:9/h?token=sesame&sig=sesame"}
    with recorded() as spans, caplog.at_level(logging.DEBUG, "cinelet"):
        post = served.client.post
        assert post("/v1/text-to-video", json={**body, **hook}, headers=headers).status_code == 200
        post("/v1/text-to-video", json={**body, "codec": elsewhere, elsewhere: 1}, headers=headers)
        post("/v1/videos", json={"prompt": prompt, "model": elsewhere}, headers={**headers, "tracestate": "a=b"})
        post("/v1/videos", data={"prompt": prompt}, files={"input_reference": ("x.png", b"x")}, headers=headers)
        served.client.get("/v1/generations", params={"text": prompt, "model": elsewhere}, headers=headers)
        served.client.get(f"/v1/generations/{'%20'.join(elsewhere.encode().hex())}", headers=headers)
        served.client.get("/v1/models", headers={"authorization": f"Bearer {secret}x"})
    records = [record for record in caplog.records if record.name.startswith("cinelet")]
    told = "\n".join(f"{caplog.handler.format(record)}\n{vars(record)}" for record in records) + spans.text()
    assert "Answered" in told
    assert "POST /v1/text-to-video" in told
    for text in (prompt, negative):
        for form in {text, repr(text)[1:-1], text.encode("ascii", "backslashreplace").decode()}:
            assert form not in told
    for private in (TOKEN, secret, secret[4:], "sesame"):
        assert private not in told
