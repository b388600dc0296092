from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.domain.lora import Lora
from cinelet.domain.request import POLICY_FIELDS, Task, VideoRequest
from cinelet.storage.video_key import video_key
from tests.storage.maker import a_request

TEXTS = st.text(max_size=20)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "prompt": st.none() | TEXTS,
    "negative_prompt": st.none() | TEXTS,
    "model": st.sampled_from(["embedded", "org/name", "hf:org/name:fal-ai"]),
    "duration": st.floats(1, 30),
    "fps": st.integers(1, 60),
    "num_inference_steps": st.none() | st.integers(1, 100),
    "guidance_scale": st.none() | st.floats(0, 100),
    "seed": st.integers(0, 2**63 - 1),
    "width": st.none() | st.integers(16, 4096),
    "height": st.none() | st.integers(16, 4096),
    "image": st.binary(min_size=1, max_size=20),
    "image_fit": st.sampled_from(["crop", "pad"]),
    "preset": st.sampled_from(["low", "medium", "high"]),
    "codec": st.sampled_from(["h264", "av1", "vp9"]),
    "quality": st.sampled_from([None, "fast", "balanced", "exact"]),
    "lora": st.sampled_from([(), (Lora(path="org/name"),), (Lora(path="org/name", scale=0.5),)]),
    "upscaler": st.none() | st.just("local:org/name"),
}
REQUESTS = st.fixed_dictionaries(FIELDS).map(lambda fields: {"task": Task.IMAGE_TO_VIDEO, **fields})


def key(fields: dict[str, Any], **more: Any) -> str:
    found = video_key(VideoRequest(**fields), **more)
    assert found is not None
    return found


def test_every_field_of_a_request_is_looked_at_here() -> None:
    assert {*FIELDS, *POLICY_FIELDS} == set(VideoRequest.model_fields)


@given(fields=REQUESTS, data=st.data())
def test_a_field_that_changes_the_video_changes_the_key(fields: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    other = {**fields, name: data.draw(FIELDS[name])}
    assert (key(fields) == key(other)) == (fields[name] == other[name])


@given(fields=REQUESTS, data=st.data())
def test_the_order_of_fields_does_not_matter(fields: dict[str, Any], data: st.DataObject) -> None:
    assert key(dict(data.draw(st.permutations(list(fields.items()))))) == key(fields)


@given(fields=REQUESTS)
def test_who_may_do_it_and_whether_the_cache_may_does_not_matter(fields: dict[str, Any]) -> None:
    assert key({**fields, "fallback": True}) == key({**fields, "fallback": False})
    assert len({key({**fields, "prefer": way}) for way in (None, "ordered", "balanced")}) == 1
    assert len({key({**fields, "max_cost": most, "max_seconds": most}) for most in (None, 1, 2.5)}) == 1
    assert len({key({**fields, "cache": mode}) for mode in ("use", "refresh", "off")}) == 1


def test_a_number_is_the_same_however_it_is_written() -> None:
    assert video_key(a_request(duration=6)) == video_key(a_request(duration=6.0))


def test_the_task_and_the_revision_count() -> None:
    request = a_request(image=b"1")
    keys = {
        video_key(request),
        video_key(request, revision="abc"),
        video_key(request, revision="abd"),
        video_key(request.model_copy(update={"task": Task.IMAGE_TO_VIDEO})),
    }
    assert len(keys) == 4


def test_how_an_image_is_fitted_does_not_matter_without_one() -> None:
    assert video_key(a_request(image_fit="pad")) == video_key(a_request(image_fit="crop"))


def test_without_a_seed_there_is_no_key_until_one_is_known() -> None:
    request = a_request(seed=None)
    assert video_key(request) is None
    assert video_key(request, seed=7) == video_key(a_request(seed=7))
    assert video_key(a_request(seed=7), seed=8) == video_key(a_request(seed=7))
    assert video_key(a_request(seed=0)) is not None


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_finds_the_same_key(hash_seed: str) -> None:
    request = a_request(prompt="ein großer Kreis, 圆", image=b"\x00\xff")
    code = (
        "import json, sys\n"
        "from cinelet.domain.request import VideoRequest\n"
        "from cinelet.storage.video_key import video_key\n"
        "fields = json.load(sys.stdin); print(video_key(VideoRequest(**fields, image=bytes([0, 255]))))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2] / "src",
        env={"PYTHONHASHSEED": hash_seed},
        input=json.dumps(request.model_dump(mode="json", exclude={"image"})),
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == video_key(request)
