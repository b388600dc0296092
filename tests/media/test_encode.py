from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cinelet.domain.errors import CapacityError, GenerationCancelledError, ProcessingError
from cinelet.media.encode import container_suffix, encode
from cinelet.media.probe import probe
from tests.media.clips import decoded, moving_square

CODECS = ["h264", "av1", "vp9"]
PURE_COLOURS = [
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255),
    (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 100, 50),
]  # fmt: skip


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


@pytest.mark.parametrize("codec", CODECS)
def test_pure_colours_come_back(codec, tmp_path):
    path = tmp_path / f"colours{container_suffix(codec)}"
    frames = np.array(PURE_COLOURS, dtype=np.uint8)[:, None, None, :] * np.ones((1, 64, 64, 1), dtype=np.uint8)
    encode(frames, path, fps=8, codec=codec, preset="high")
    assert np.abs(decoded(path).astype(int) - frames).max() <= 6
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    bt709, limited = 1, 1
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (bt709, bt709, bt709)
    assert frame.color_range == limited


@pytest.mark.parametrize("codec", CODECS)
def test_a_better_preset_is_closer_to_the_frames(codec, tmp_path):
    frames = moving_square(frames=24, width=160, height=128)
    closeness = {}
    for preset in ("low", "medium", "high"):
        path = tmp_path / f"{preset}{container_suffix(codec)}"
        encode(frames, path, fps=12, codec=codec, preset=preset)
        closeness[preset] = psnr(decoded(path), frames)
    assert closeness["low"] < closeness["medium"] < closeness["high"]
    assert closeness["medium"] > 30


def test_a_file_replaces_an_older_one_only_when_it_is_whole(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"older")

    def look(_: int) -> None:
        assert path.read_bytes() == b"older"

    encode(moving_square(), path, fps=8, on_frame=look)
    assert probe(path).frames == 16


def test_the_index_comes_first_and_a_key_frame_every_two_seconds(tmp_path):
    path = tmp_path / "clip.mp4"
    encode(moving_square(frames=48), path, fps=8)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.is_keyframe]
    assert [float((packet.pts or 0) * (packet.time_base or 0)) for packet in packets] == [0, 2, 4]


def test_floats_are_rounded_and_not_cut(tmp_path):
    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    frames = np.full((4, 64, 64, 3), 127, dtype=np.uint8)
    encode(frames, a, fps=8)
    # Cut, 126.9 would become 126.
    encode((frames.astype(np.float32) - 0.1) / 255, b, fps=8)
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_every_float_type_gives_the_same_video_as_bytes(kind, tmp_path):
    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    encode(moving_square(), a, fps=8)
    encode((moving_square() / 255).astype(kind), b, fps=8)
    assert a.read_bytes() == b.read_bytes()


def test_frames_are_taken_from_an_iterator_one_by_one(tmp_path):
    taken = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal taken
        for frame in moving_square():
            taken += 1
            yield frame

    def at_most_one_ahead(done: int) -> None:
        assert taken == done

    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    encode(frames(), a, fps=8, on_frame=at_most_one_ahead)
    encode(moving_square(), b, fps=8)
    assert taken == 16
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_frames_give_the_same_file_again_and_again(codec, tmp_path):
    # A fade over a width that is no multiple of 128: where x264 used to write another file each time.
    frames = (moving_square(width=96, height=64) * np.linspace(0.2, 1, 16)[:, None, None, None]).astype(np.uint8)
    files = set()
    for number in range(12):
        path = tmp_path / f"{number}{container_suffix(codec)}"
        dirt = [np.full(size, number, dtype=np.uint8) for size in (5_000, 70_000, 900_000)]
        del dirt
        encode(frames, path, fps=8, codec=codec)
        files.add(path.read_bytes())
    assert len(files) == 1


def test_every_frame_is_reported(tmp_path):
    done: list[int] = []
    encode(moving_square(), tmp_path / "clip.mp4", fps=8, on_frame=done.append)
    assert done == list(range(1, 17))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("width", "height"), [(65, 64), (64, 67), (97, 65)])
def test_an_odd_side_gets_one_more_line_and_the_picture_keeps_its_scale(codec, width, height, tmp_path):
    path = tmp_path / f"odd{container_suffix(codec)}"
    frames = moving_square(width=width, height=height)
    encode(frames, path, fps=8, codec=codec, preset="high")
    shown = decoded(path)
    assert shown.shape == (16, height + height % 2, width + width % 2, 3)
    assert psnr(shown[:, :height, :width], frames) > 28
    last_row = shown[:, -1].astype(int) - shown[:, height - 1]
    assert np.abs(last_row).mean() < 12


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("at_frame", [1, 40])
def test_a_cancel_passes_through_and_leaves_nothing(codec, at_frame, tmp_path):
    def cancel(done: int) -> None:
        if done == at_frame:
            raise GenerationCancelledError("stop")

    with pytest.raises(GenerationCancelledError):
        encode(moving_square(frames=48, width=96, height=96), tmp_path / "clip", fps=8, codec=codec, on_frame=cancel)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (np.zeros((0, 64, 64, 3), np.uint8), "there are no frames"),
        (iter([]), "there are no frames"),
        (np.zeros((2, 64, 64), np.uint8), "frame 1 has the shape (64, 64), not [height, width, 3]"),
        (np.zeros((1, 2, 64, 64, 3), np.uint8), "frame 1 has the shape (2, 64, 64, 3), not [height, width, 3]"),
        (np.zeros((2, 64, 64, 4), np.uint8), "frame 1 has the shape (64, 64, 4), not [height, width, 3]"),
        (np.zeros((2, 64, 64, 3), np.int64), "frame 1 is of type int64; give uint8, or floats from 0 to 1"),
        (np.full((2, 64, 64, 3), -1.0), "frame 1 has values from -1 to -1; floats go from 0 to 1"),
        (np.full((2, 64, 64, 3), 200.0), "frame 1 has values from 200 to 200; floats go from 0 to 1"),
        (np.full((2, 64, 64, 3), np.nan), "frame 1 holds values that are no numbers"),
        (
            iter([np.zeros((64, 64, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)]),
            "frame 2 has 32x64 pixels and the frames before it 64x64; give frames of one size",
        ),
    ],
)
def test_what_is_no_frame_is_named_and_leaves_nothing(frames, why, tmp_path):
    with pytest.raises(ProcessingError) as caught:
        encode(frames, tmp_path / "clip.mp4", fps=8)
    assert why in str(caught.value)
    assert caught.value.stage == "encoding"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -8, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(fps, tmp_path):
    with pytest.raises(ProcessingError, match="is no rate"):
        encode(moving_square(), tmp_path / "clip.mp4", fps=fps)


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_small_and_narrow_pictures_work(codec, tmp_path):
    for width, height in ((2, 2), (16, 16), (512, 16), (16, 512)):
        path = tmp_path / f"{width}x{height}{container_suffix(codec)}"
        encode(moving_square(width=width, height=height), path, fps=8, codec=codec)
        assert probe(path).resolution == f"{width}x{height}"


def test_av1_refuses_a_size_at_which_its_encoder_hangs(tmp_path):
    with pytest.raises(ProcessingError, match="AV1 needs sides of at least 64 pixels, not 512x16; use h264"):
        encode(moving_square(width=512, height=16), tmp_path / "clip.mp4", fps=8, codec="av1")


def test_a_folder_that_is_missing_is_said(tmp_path):
    with pytest.raises(ProcessingError, match=r"clip\.mp4 cannot be written: No such file or directory"):
        encode(moving_square(), tmp_path / "missing" / "clip.mp4", fps=8)


def test_a_full_disk_is_a_lack_of_room_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CapacityError, match="the disk is full"):
        encode(moving_square(), tmp_path / "clip.mp4", fps=Fraction(8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="a file size limit is a POSIX matter")
def test_a_file_that_cannot_grow_is_said_and_leaves_nothing(tmp_path):
    script = f"""
import resource
from pathlib import Path
import numpy as np
from cinelet.domain.errors import ProcessingError
from cinelet.media.encode import encode
noise = np.random.default_rng(0).integers(0, 255, (24, 128, 128, 3), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    encode(noise, Path({str(tmp_path / "clip.mp4")!r}), fps=8)
except ProcessingError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "clip.mp4 cannot be written: File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("codec", CODECS)
def test_encoding_is_silent(codec, tmp_path, capfd):
    encode(moving_square(width=64, height=64), tmp_path / f"clip{container_suffix(codec)}", fps=8, codec=codec)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux lists threads so")
@pytest.mark.parametrize("codec", ["h264", "av1", "vp9"])
def test_no_encoder_makes_this_process_one_that_others_must_wait_for(codec, tmp_path):
    def policies(_: int = 0) -> set[int]:
        return {os.sched_getscheduler(int(entry.name)) for entry in Path("/proc/self/task").iterdir()}

    seen: list[set[int]] = []
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    encode(
        frames,
        tmp_path / f"a{container_suffix(codec)}",
        fps=8,
        codec=codec,
        on_frame=lambda n: seen.append(policies(n)),
    )
    assert [*seen, policies()] == [{os.SCHED_OTHER}] * 4
