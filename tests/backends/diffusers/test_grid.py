"""Sizes and frame counts that a model can make, read from its configuration alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.backends.diffusers.families import family_of
from cinelet.backends.diffusers.grid import Grid, grid_of
from cinelet.backends.diffusers.model_folder import open_folder
from cinelet.domain.backend import FrameRule
from tests.conftest import TinyPipeline
from tests.tiny_pipelines import TASKS

SIDES = st.integers(16, 4096)
GRIDS = st.builds(
    lambda multiple, width, height: Grid(FrameRule(), multiple, (width * multiple, height * multiple)),
    st.sampled_from([8, 16, 32, 64]),
    st.integers(1, 40),
    st.integers(1, 40),
)
FEW = Grid(FrameRule(), 16, (512, 512), sizes=((512, 512), (768, 432), (432, 768)))


@given(GRIDS, SIDES, SIDES)
def test_a_size_moves_to_the_nearest_multiple(grid: Grid, width: int, height: int) -> None:
    for asked, side in zip((width, height), grid.size_rule.nearest(width, height), strict=True):
        assert side % grid.multiple == 0
        assert side == grid.multiple or abs(side - asked) <= grid.multiple / 2


@given(GRIDS, SIDES, SIDES)
def test_a_size_on_the_grid_stays_and_another_one_is_reported(grid: Grid, width: int, height: int) -> None:
    size, adjustments = grid.size_rule.adjusted(width, height)
    assert grid.size_rule.adjusted(*size) == (size, ())
    assert (size == (width, height)) == (not adjustments)
    for adjustment in adjustments:
        assert (adjustment.requested, adjustment.applied) == (f"{width}x{height}", f"{size[0]}x{size[1]}")
        assert f"multiples of {grid.multiple}" in adjustment.reason


@given(GRIDS, SIDES, SIDES)
def test_a_picture_gives_its_shape_to_about_the_area_of_the_default(grid: Grid, width: int, height: int) -> None:
    like = grid.size_like(width, height)
    assert all(side % grid.multiple == 0 and side > 0 for side in like)
    ideal = ((grid.default_size[0] * grid.default_size[1] / (width * height)) ** 0.5 * side for side in (width, height))
    assert all(abs(a - b) <= grid.multiple / 2 or a == grid.multiple for a, b in zip(like, ideal, strict=True))


def test_of_few_sizes_the_nearest_is_taken_and_a_picture_gets_the_one_of_its_shape() -> None:
    assert FEW.size_rule.nearest(800, 400) == (768, 432)
    assert FEW.size_like(4000, 2250) == (768, 432)
    assert FEW.size_like(90, 160) == (432, 768)
    assert "512x512, 768x432, 432x768 only" in FEW.size_rule.adjusted(640, 480)[1][0].reason


EXPECTED: dict[str, tuple[FrameRule, int]] = {
    "allegro": (FrameRule(16, 8, 24, 88), 16),
    "animatediff": (FrameRule(maximum=32), 8),
    "animatediff_pag": (FrameRule(maximum=32), 8),
    "animatediff_sdxl": (FrameRule(maximum=32), 8),
    "anyflow": (FrameRule(4, 1), 16),
    "anyflow_far": (FrameRule(minimum=17, maximum=17), 32),
    "chronoedit": (FrameRule(4, 1), 16),
    "cogvideox": (FrameRule(8, 1, 9, 49), 16),
    "cogvideox_i2v": (FrameRule(8, 1, 9, 49), 16),
    "cosmos2_5": (FrameRule(4, 1), 16),
    "cosmos2_video": (FrameRule(4, 1), 16),
    "cosmos3": (FrameRule(4, 1), 16),
    "cosmos_text": (FrameRule(4, 1), 16),
    "cosmos_video": (FrameRule(4, 1), 16),
    "easyanimate": (FrameRule(4, 1, maximum=49), 16),
    "framepack": (FrameRule(32, 1, 33), 16),
    "helios": (FrameRule(32, 1, 33), 16),
    "helios_pyramid": (FrameRule(32, 1, 33), 16),
    "hunyuan_skyreels_i2v": (FrameRule(4, 1, maximum=129), 16),
    "hunyuan_video": (FrameRule(4, 1, maximum=129), 16),
    "hunyuan_video15": (FrameRule(4, 1), 16),
    "hunyuan_video15_i2v": (FrameRule(4, 1), 16),
    "hunyuan_video_i2v": (FrameRule(4, 1, maximum=129), 16),
    "i2vgen_xl": (FrameRule(maximum=16), 64),
    "kandinsky5": (FrameRule(4, 1, maximum=241), 16),
    "kandinsky5_i2v": (FrameRule(4, 1, 17, 241), 16),
    "kandinsky6": (FrameRule(4, 1), 16),
    "latte": (FrameRule(minimum=4, maximum=4), 16),
    "ltx": (FrameRule(8, 1, maximum=257), 32),
    "ltx2": (FrameRule(8, 1), 32),
    "ltx2_condition": (FrameRule(8, 1), 32),
    "ltx2_i2v": (FrameRule(8, 1), 32),
    "ltx_condition": (FrameRule(8, 1, maximum=257), 32),
    "ltx_i2v": (FrameRule(8, 1, maximum=257), 32),
    "ltx_long": (FrameRule(8, 1), 32),
    "mochi": (FrameRule(6, 1, maximum=163), 16),
    "motif": (FrameRule(4, 1), 16),
    "motif_i2v": (FrameRule(4, 1), 16),
    "pia": (FrameRule(maximum=32), 8),
    "sana_i2v": (FrameRule(4, 1), 32),
    "sana_video": (FrameRule(4, 1), 32),
    "skyreels_v2": (FrameRule(4, 1, maximum=121), 16),
    "skyreels_v2_df": (FrameRule(4, 1, maximum=97), 16),
    "skyreels_v2_df_i2v": (FrameRule(4, 1, maximum=121), 16),
    "skyreels_v2_i2v": (FrameRule(4, 1, maximum=121), 16),
    "svd": (FrameRule(maximum=14), 64),
    "text_to_video_sd": (FrameRule(maximum=64), 8),
    "wan22_moe": (FrameRule(4, 1, maximum=121), 16),
    "wan_i2v": (FrameRule(4, 1, maximum=121), 16),
    "wan_t2v": (FrameRule(4, 1, maximum=121), 16),
    "wan_ti2v": (FrameRule(4, 1, maximum=121), 32),
    "wan_vace": (FrameRule(4, 1, maximum=121), 16),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_grid_of_each_family_follows_from_its_configuration(name: str, tiny_pipeline: TinyPipeline) -> None:
    folder = open_folder(tiny_pipeline(name), "local:tiny")
    grid = grid_of(folder, family_of(folder.class_name), {})
    assert (grid.frames, grid.multiple) == EXPECTED[name]


def grid_of_configuration(folder: Path, class_name: str, vae: dict[str, Any], **defaults: Any) -> Grid:
    (folder / "vae").mkdir()
    (folder / "vae" / "config.json").write_text(json.dumps(vae))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": class_name, "vae": ["diffusers", "Any"]}))
    return grid_of(open_folder(folder, "local:test"), family_of(class_name), defaults)


def test_the_card_has_the_last_word(tmp_path: Path) -> None:
    card = {"default_size": [192, 192], "sizes": [[192, 192]], "max_frames": 49}
    (tmp_path / "cinelet.json").write_text(json.dumps(card))
    vae = {"spatio_temporal_scaling": [True, True], "patch_size": 8}
    grid = grid_of_configuration(tmp_path, "LTXPipeline", vae, width=704, height=512)
    assert grid == Grid(FrameRule(4, 1, maximum=49), 32, (192, 192), ((192, 192),))


def test_a_family_that_nobody_listed_gets_its_grid_from_its_autoencoder(tmp_path: Path) -> None:
    vae = {"scale_factor_temporal": 4, "scale_factor_spatial": 32}
    grid = grid_of_configuration(tmp_path, "NewVideoPipeline", vae, width=832, height=480)
    assert grid == Grid(FrameRule(4, 1), 32, (832, 480))


def test_what_says_nothing_is_taken_for_a_stable_diffusion_model(tmp_path: Path) -> None:
    assert grid_of_configuration(tmp_path, "NewVideoPipeline", {}) == Grid(FrameRule(), 16, (512, 512))


def test_of_many_sizes_a_few_are_named() -> None:
    many = Grid(FrameRule(), 16, (512, 512), sizes=tuple((side, side) for side in range(128, 1280, 16)))
    assert "128x128, 144x144, ..., 1264x1264 only" in many.size_rule.adjusted(100, 100)[1][0].reason


def test_an_autoencoder_that_leaves_what_its_tiles_do_not_reach_black_makes_the_sizes_that_they_fill(
    tmp_path: Path,
) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps({"sample_size": 320, "block_out_channels": [1] * 4}))
    index = {"_class_name": "AllegroPipeline", "vae": ["diffusers", "AutoencoderKLAllegro"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    grid = grid_of(open_folder(tmp_path, "local:test"), family_of("AllegroPipeline"), {})
    assert set(grid.sizes) == {(width, height) for width in (320, 560, 800, 1040, 1280) for height in (320, 720)}
    assert grid.default_size == (1280, 720)
    assert [grid.frames.at_least(frames) for frames in (1, 25, 41, 88, 100)] == [24, 40, 56, 88, 88]


def test_a_least_side_is_kept_and_named() -> None:
    grid = Grid(FrameRule(), 32, (512, 512), least=96)
    size, (adjustment,) = grid.size_rule.adjusted(64, 200)
    assert size == (96, 192)
    assert "multiples of 32 pixels, at least 96" in adjustment.reason
