from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cinelet.domain.preview import CELL_SIDE_PIXELS, MAX_CELLS, THUMBNAIL_SIDE_PIXELS, PreviewLayout, cell_frames

sides = st.integers(1, 10_000)


def test_a_video_has_a_small_picture_and_a_grid_of_25_cells() -> None:
    layout = PreviewLayout.of(width=1280, height=720, frames=120, seconds=5)
    assert layout.to_dict() == {
        "thumbnail": {"width": 480, "height": 270},
        "spritesheet": {
            "columns": 5,
            "rows": 5,
            "frames": 25,
            "cell_width": 160,
            "cell_height": 90,
            "interval_seconds": 0.2,
        },
    }


def test_a_short_video_has_a_cell_for_each_frame() -> None:
    layout = PreviewLayout.of(width=64, height=48, frames=7, seconds=3.5)
    assert (layout.cells, layout.columns, layout.rows, layout.interval_seconds) == (7, 5, 2, 0.5)
    one = PreviewLayout.of(width=64, height=48, frames=1, seconds=0.125)
    assert (one.cells, one.columns, one.rows) == (1, 1, 1)


@given(width=sides, height=sides, frames=st.integers(1, 100_000))
def test_no_picture_is_larger_than_the_video_or_the_limit_or_without_pixels(
    width: int, height: int, frames: int
) -> None:
    layout = PreviewLayout.of(width=width, height=height, frames=frames, seconds=1)
    for size, limit in ((layout.thumbnail, THUMBNAIL_SIDE_PIXELS), (layout.cell, CELL_SIDE_PIXELS)):
        assert 1 <= size[0] <= width
        assert 1 <= size[1] <= height
        assert max(size) == min(limit, max(width, height))
    assert layout.columns * (layout.rows - 1) < layout.cells <= layout.columns * layout.rows


@given(frames=st.integers(1, 100_000))
def test_the_frames_of_a_sheet_are_evenly_spaced_from_the_first_on(frames: int) -> None:
    chosen = cell_frames(frames)
    assert chosen[0] == 0
    assert len(chosen) == len(set(chosen)) == min(frames, MAX_CELLS)
    assert all(0 <= number * frames / len(chosen) - frame < 1 for number, frame in enumerate(chosen))
