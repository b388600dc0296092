"""Where a model lies: the fastest way that fits, by the numbers; and the same video whichever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cinelet.backends.diffusers.loading import load
from cinelet.backends.diffusers.model_folder import open_folder
from cinelet.backends.diffusers.placement import Offload, Placement, choose, place, refusal, tile
from cinelet.backends.diffusers.precision import Precision
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.backends.diffusers.tensors import Footprint
from cinelet.backends.diffusers.working_memory import Working
from tests.conftest import TinyPipeline

GB = 10**9
WAN_5B = Footprint({"text_encoder": 11 * GB, "transformer": 10 * GB, "vae": 3 * GB})
"""About what Wan2.2-TI2V-5B takes in bfloat16, with its autoencoder in float32."""
ITS_RUN = Working(denoise=4 * GB, decode=26 * GB, decode_tiled=2 * GB)
MUCH = 1000 * GB
ROUNDING = 1e-5
"""Of a pixel's range: weights that were moved lie at other addresses, by which some processors choose how to add up."""


def chosen(room: int, *, weights_room: int = MUCH, host_room: int | None = MUCH) -> Placement | None:
    return choose(WAN_5B, ITS_RUN, room=room, weights_room=weights_room, host_room=host_room)


@pytest.mark.parametrize(
    ("room", "placement"),
    [
        (80, Placement()),
        (40, Placement(tiled=True)),
        (29, Placement(tiled=True)),
        (24, Placement(Offload.MODEL, tiled=True)),
        (16, Placement(Offload.MODEL, tiled=True)),
        (9, Placement(Offload.GROUP, tiled=True)),
        (8, Placement(Offload.SEQUENTIAL, tiled=True)),
    ],
)
def test_less_room_means_tiles_first_and_then_more_offload(room: int, placement: Placement) -> None:
    assert chosen(room * GB) == placement


def test_a_decoder_that_has_the_device_for_itself_needs_no_tiles() -> None:
    weights = Footprint({"text_encoder": 40 * GB, "transformer": 20 * GB, "vae": 1 * GB})
    working = Working(denoise=2 * GB, decode=26 * GB, decode_tiled=2 * GB)
    found = choose(weights, working, room=45 * GB, weights_room=MUCH, host_room=MUCH)
    assert found == Placement(Offload.MODEL, tiled=False)


def test_a_limit_for_weights_means_offload_though_the_device_has_more() -> None:
    assert chosen(MUCH, weights_room=12 * GB) == Placement(Offload.MODEL)
    assert chosen(MUCH, weights_room=5 * GB) == Placement(Offload.GROUP, tiled=True)


@pytest.mark.parametrize(
    ("room", "weights_room", "offload"),
    [(8, MUCH, Offload.GROUP), (7, MUCH, Offload.SEQUENTIAL), (8, 6, Offload.GROUP), (8, 5, Offload.SEQUENTIAL)],
)
def test_group_offload_has_room_for_two_layers_of_each_size_and_for_the_whole_autoencoder(
    room: int, weights_room: int, offload: Offload
) -> None:
    weights = Footprint(
        {"text_encoder": 11 * GB, "transformer": 20 * GB, "vae": 1 * GB, "audio_vae": 2 * GB},
        {"text_encoder": 3 * GB, "transformer": 1 * GB, "vae": 1 * GB, "audio_vae": 1 * GB},
    )
    working = Working(denoise=2 * GB, decode=9 * GB, decode_tiled=1 * GB)
    found = choose(weights, working, room=room * GB, weights_room=weights_room * GB, host_room=MUCH)
    assert found == Placement(offload, tiled=True)


def test_group_offload_has_room_to_decode_beside_the_autoencoder() -> None:
    weights = Footprint({"transformer": 20 * GB, "vae": 1 * GB})
    working = Working(denoise=1 * GB, decode=9 * GB, decode_tiled=6 * GB)
    found = [choose(weights, working, room=room * GB, weights_room=MUCH, host_room=MUCH) for room in (7, 6)]
    assert found == [Placement(Offload.GROUP, tiled=True), Placement(Offload.SEQUENTIAL, tiled=True)]


def test_what_lies_on_the_device_all_the_time_is_all_or_the_autoencoder_or_nothing() -> None:
    held = [Placement(offload).held_bytes(WAN_5B) // GB for offload in Offload]
    assert held == [24, 0, 3, 0]


def test_what_fits_nowhere_is_refused_with_the_numbers() -> None:
    assert chosen(80 * GB, weights_room=12 * GB, host_room=20 * GB) is None
    assert chosen(20 * GB, host_room=None) is None
    assert chosen(0, host_room=0) is None
    message = str(refusal("org/name", WAN_5B, device="cpu", room=8 * GB, host_room=None))
    assert message.startswith("org/name needs 24.0 GB for its weights, and cpu has 8.0 GB for it; ")


def test_on_a_processor_a_rough_estimate_of_a_run_refuses_nothing() -> None:
    assert chosen(25 * GB, host_room=None) == Placement(tiled=True)


@given(room=st.integers(0, 100), more=st.integers(0, 100))
def test_more_room_never_means_a_slower_placement(room: int, more: int) -> None:
    small, large = chosen(room * GB), chosen((room + more) * GB)
    assert small is not None
    assert large is not None
    assert large.offload <= small.offload


def test_each_step_down_needs_less_and_the_last_one_has_none_below() -> None:
    steps, at = [], Placement()
    while (below := at.below(offloads=True)) is not None:
        steps.append(at := below)
    assert steps == [Placement(offload, tiled=True) for offload in Offload]
    assert Placement(tiled=True).below(offloads=False) is None


def frames_of(pipeline: Any) -> np.ndarray[Any, Any]:
    arguments = {"prompt": "a circle", "width": 64, "height": 64, "num_frames": 9, "num_inference_steps": 2}
    with torch.inference_mode():
        return np.asarray(pipeline(**arguments, output_type="np", generator=torch.Generator().manual_seed(1)).frames)


@pytest.mark.parametrize("offload", list(Offload))
def test_every_offload_gives_the_same_frames(tiny_pipeline: TinyPipeline, offload: Offload) -> None:
    folder = open_folder(tiny_pipeline("wan_t2v"), "wan")
    with quiet_libraries():
        plain = load(folder, device="cpu", precision=Precision("float32"), placement=Placement(), shared={})
        there = load(folder, device="cpu", precision=Precision("float32"), placement=Placement(offload), shared={})
        plain.set_progress_bar_config(disable=True)
        there.set_progress_bar_config(disable=True)
        for _ in range(2):
            assert np.abs(frames_of(plain) - frames_of(there)).max() < ROUNDING


def test_tiles_are_put_on_and_taken_off(tiny_pipeline: TinyPipeline) -> None:
    folder = open_folder(tiny_pipeline("wan_t2v"), "wan")
    with quiet_libraries():
        pipeline = load(
            folder, device="cpu", precision=Precision("float32"), placement=Placement(tiled=True), shared={}
        )
        assert (pipeline.vae.use_tiling, pipeline.vae.use_slicing) == (True, True)
        place(pipeline, Placement(), device="cpu")
        assert (pipeline.vae.use_tiling, pipeline.vae.use_slicing) == (False, False)


def test_an_autoencoder_without_tiles_says_so() -> None:
    class Vae:
        def enable_tiling(self) -> None:
            raise NotImplementedError

    class Pipeline:
        vae = Vae()

    assert not tile(Pipeline(), tiled=True)
    assert tile(Pipeline(), tiled=False)
    assert not tile(object(), tiled=True)
