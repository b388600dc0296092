"""The pictures of a video, as a person sees them: decoded again and compared with its frames."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cinelet.domain.errors import ProcessingError
from cinelet.domain.preview import FILES, SPRITESHEET, THUMBNAIL, THUMBNAIL_JPEG, PreviewLayout, cell_frames
from cinelet.domain.request import Codec
from cinelet.domain.result import VideoFacts
from cinelet.media import measurement, sketch
from cinelet.media.encode import container_suffix, encode
from cinelet.media.probe import Expectation, Prober
from cinelet.media.sandbox import SandboxError
from tests.media.clips import decoded, moving_square, write_packets

Pixels = npt.NDArray[np.uint8]
PROBER = Prober(draws=True)
"""Its child is kept: to start one takes longer than most of what is tested here."""


def drawn(path: Path, prober: Prober = PROBER) -> tuple[VideoFacts, Mapping[str, bytes]]:
    facts, files = prober.probe_and_draw(path)
    assert files is not None
    assert set(files) == set(FILES)
    return facts, files


def opened(content: bytes) -> Pixels:
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def layout_of(facts: VideoFacts) -> PreviewLayout:
    return PreviewLayout.of(width=facts.width, height=facts.height, frames=facts.frames, seconds=facts.duration)


def cells_of(sheet: Pixels, layout: PreviewLayout) -> list[Pixels]:
    width, height = layout.cell
    assert sheet.shape == (height * layout.rows, width * layout.columns, 3)
    grid = [
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row in range(layout.rows)
        for column in range(layout.columns)
    ]
    assert all(cell.mean() < 4 for cell in grid[layout.cells :]), "what is left of the last row is black"
    return grid[: layout.cells]


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def shrunk(frame: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


def assert_cells_show_the_frames(path: Path) -> None:
    facts, files = drawn(path)
    layout = layout_of(facts)
    frames = [shrunk(frame, layout.cell) for frame in decoded(path)]
    cells = cells_of(opened(files[SPRITESHEET]), layout)
    for cell, number in zip(cells, cell_frames(facts.frames), strict=True):
        found = [difference(cell, frame) for frame in frames]
        assert found[number] < 12
        assert found[number] <= min(found) + 0.5, f"cell of frame {number} shows {int(np.argmin(found))}"


@pytest.mark.parametrize("codec", ["h264", "av1", "vp9"])
def test_each_cell_shows_the_frame_of_its_time(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / f"clip{container_suffix(codec)}"
    encode(moving_square(frames=60, width=240, height=144), path, fps=24, codec=codec)
    assert_cells_show_the_frames(path)


@pytest.mark.parametrize("frames", [1, 2, 7, 25, 26])
def test_a_video_of_few_frames_has_them_all(frames: int, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(moving_square(frames=frames, width=192, height=128), path, fps=8)
    assert_cells_show_the_frames(path)


@pytest.mark.parametrize("timestamps", [list(range(60)), [*range(20), *range(60, 80)]])
def test_the_frames_are_counted_and_no_header_believed(timestamps: list[int], tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    write_packets(path, timestamps=timestamps, per_second=8)
    assert_cells_show_the_frames(path)


@pytest.mark.parametrize("promised", [0, 1, 40, 10**9, -5])
def test_a_wrong_promise_of_frames_costs_a_second_pass_and_nothing_else(
    promised: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.mp4"
    encode(moving_square(frames=30), path, fps=8)
    order = {"path": str(path), "max_pixels": 10**6, "max_frames": 100, "previews": True}
    right = sketch.measure_and_draw(order)
    monkeypatch.setattr(measurement, "_promised_frames", lambda *_: promised)
    assert sketch.measure_and_draw(order) == right


def test_the_thumbnail_is_small_and_its_colours_are_right_in_both_formats(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(moving_square(frames=8, width=1280, height=720), path, fps=8)
    facts, files = drawn(path)
    first = shrunk(decoded(path)[0], (480, 270))
    for name in (THUMBNAIL, THUMBNAIL_JPEG):
        picture = opened(files[name])
        assert picture.shape == (270, 480, 3)
        assert difference(picture, first) < 6
        assert np.abs(picture[135, 40].astype(int) - (230, 30, 30)).max() < 16, "the red square, not orange or pink"
        assert len(files[name]) < 40_000
    assert facts.frames == 8


def test_a_video_that_begins_in_the_dark_is_not_shown_as_a_black_picture(tmp_path: Path) -> None:
    clip = moving_square(frames=40, width=128, height=96)
    clip[:10] = 0
    path = tmp_path / "clip.mp4"
    encode(clip, path, fps=8)
    assert difference(opened(drawn(path)[1][THUMBNAIL]), decoded(path)[11]) < 12


def test_where_all_frames_show_as_much_the_first_one_stands_for_the_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(moving_square(frames=40, width=128, height=96), path, fps=8)
    picture, frames = opened(drawn(path)[1][THUMBNAIL]), decoded(path)
    assert int(np.argmin([difference(picture, frame) for frame in frames])) == 0


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_a_turned_video_has_upright_pictures(degrees: int, turns: int, tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    write_packets(path, timestamps=list(range(8)), per_second=8, rotation=degrees)
    facts, files = drawn(path)
    upright = [np.rot90(frame, turns) for frame in decoded(path)]
    assert (facts.height, facts.width) == upright[0].shape[:2]
    assert difference(opened(files[THUMBNAIL]), upright[0]) < 12
    for cell, frame in zip(cells_of(opened(files[SPRITESHEET]), layout_of(facts)), upright, strict=True):
        assert difference(cell, frame) < 12


def test_noise_of_any_shape_fits_into_the_answer_of_the_child(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    encode(np.random.default_rng(0).integers(0, 256, (25, 480, 480, 3), dtype=np.uint8), path, fps=8, preset="low")
    assert sum(map(len, drawn(path)[1].values())) < 1_000_000
    thin = tmp_path / "thin.mp4"
    encode(moving_square(frames=5, width=4096, height=4), thin, fps=8)
    assert opened(drawn(thin)[1][SPRITESHEET]).shape == (1, 5 * 160, 3)


def test_hostile_files_are_refused_like_without_pictures(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    encode(moving_square(frames=48), good, fps=24)
    content = good.read_bytes()
    prober = Prober(expect=Expectation(max_frames=100, max_pixels=256 * 192), draws=True)
    middle = content.index(b"mdat") + len(content) // 4
    damaged = (
        content[:middle] + bytes(255 - value for value in content[middle : middle + 400]) + content[middle + 400 :]
    )
    for broken in (b"", b"<html>", content[:-1], content[: len(content) // 2], damaged):
        bad.write_bytes(broken)
        refusals = []
        for ask in (prober.probe, prober.probe_and_draw):
            with pytest.raises(ProcessingError) as caught:
                ask(bad)
            refusals.append(str(caught.value))
        assert refusals[0] == refusals[1]
    assert drawn(good, prober)[0].frames == 48
    encode(moving_square(frames=101), bad, fps=24)
    with pytest.raises(ProcessingError, match="more than 100 frames"):
        prober.probe_and_draw(bad)
    prober.close()


def test_a_picture_that_cannot_be_drawn_leaves_the_facts_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    encode(moving_square(frames=30), path, fps=8)
    order = {"path": str(path), "max_pixels": 10**6, "max_frames": 100, "previews": True}
    facts = measurement.measure(order)
    for name in ("_scaled", "_encoded"):
        with monkeypatch.context() as patch:
            patch.setattr(sketch, name, broken)
            assert sketch.measure_and_draw(order) == {"facts": facts, "previews": "MemoryError: no room"}


def broken(*_: object) -> None:
    raise MemoryError("no room")


class LyingChild:
    """Stands for a child that a video has taken over, or that crashes over its pictures."""

    usable = True

    def __init__(self, pictures: Any) -> None:
        self.pictures = pictures

    def run(self, order: dict[str, Any], *, limits: object) -> dict[str, Any]:
        del limits
        measured = sketch.measure_and_draw({**order, "previews": False})
        if not order["previews"]:
            return measured
        if isinstance(self.pictures, SandboxError):
            raise self.pictures
        return {**measured, "previews": self.pictures}

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "pictures",
    [
        "it cannot be",
        {},
        {name: base64.b64encode(b"<script>").decode() for name in FILES},
        {name: base64.b64encode(b"\xff\xd8\xff").decode() for name in FILES},
        SandboxError("it was killed by SIGSEGV", "crashed"),
        SandboxError("it needed more than 2,048 MiB of memory", "memory"),
    ],
)
def test_a_child_that_lies_or_crashes_over_pictures_costs_only_them(pictures: Any, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(moving_square(), path, fps=8)
    prober = Prober(draws=True)
    prober._ready = [LyingChild(pictures)]  # type: ignore[list-item]
    facts, files = prober.probe_and_draw(path)
    assert (facts.frames, files) == (16, None)
