from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cinelet.domain.errors import ProcessingError
from cinelet.media.encode import container_suffix, encode
from cinelet.media.measurement import Timeline
from cinelet.media.probe import Expectation, Prober, probe
from tests.media.clips import moving_square, write_packets, write_silence


def refusal(path: Path, *, timeout_seconds: float = 60, expect: Expectation | None = None) -> str:
    """Return why a file is refused; everything that all refusals share is checked here."""
    with pytest.raises(ProcessingError) as caught:
        probe(path, timeout_seconds=timeout_seconds, expect=expect)
    assert caught.value.stage == "probe"
    message = str(caught.value)
    assert message.isprintable()
    prefix = f"{path.name} is not a video that can be used: "
    assert message.startswith(prefix)
    return message.removeprefix(prefix)


@pytest.fixture(scope="module", params=["h264", "av1", "vp9"])
def video(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / f"clip{container_suffix(request.param)}"
    encode(moving_square(frames=48, width=96, height=64), path, fps=24, codec=request.param)
    return path


def test_every_fact_is_measured_from_the_file(video):
    facts = probe(video)
    content = video.read_bytes()
    codec, container = {".mp4": ("av1" if b"av01" in content else "h264", "mp4"), ".webm": ("vp9", "webm")}[
        video.suffix
    ]
    assert (facts.width, facts.height, facts.frames, facts.fps) == (96, 64, 48, 24)
    assert (facts.duration, facts.codec, facts.container, facts.has_audio) == (2.0, codec, container, False)
    assert (facts.size, facts.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("part", [0.97, 0.7, 0.3, 0.02])
def test_a_file_that_is_cut_off_is_refused(video, part, tmp_path):
    cut = tmp_path / f"cut{video.suffix}"
    content = video.read_bytes()
    cut.write_bytes(content[: int(len(content) * part)])
    assert refusal(cut)


def test_an_mp4_that_misses_one_byte_is_refused(tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    encode(moving_square(), whole, fps=8)
    cut.write_bytes(whole.read_bytes()[:-1])
    assert "cut off or damaged after" in refusal(cut)


def test_an_mp4_whose_index_was_to_come_last_is_refused_when_it_did_not_come(tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_packets(whole, timestamps=list(range(8)), per_second=8)
    content = whole.read_bytes()
    cut.write_bytes(content[: content.rindex(b"moov") - 4])
    assert "it does not decode (Invalid data" in refusal(cut)


def test_damage_in_the_middle_is_found(tmp_path):
    path = tmp_path / "damaged.mp4"
    encode(moving_square(frames=48), path, fps=24)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + len(content) // 4
    content[start : start + 400] = bytes(255 - value for value in content[start : start + 400])
    path.write_bytes(content)
    assert "cut off or damaged" in refusal(path)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.mp4", b"", "it is an empty file"),
        (
            "page.mp4",
            b"<html><h1>502 Bad Gateway</h1></html>",
            "it is an HTML page ('<html><h1>502 Bad Gateway</h1></html>')",
        ),
        ("error.mp4", b'{"detail": "out of credit"}', """it is a JSON document ('{"detail": "out of credit"}')"""),
        ("text.mp4", b"Service\nUnavailable", "it is a text file ('Service Unavailable')"),
        ("zeros.mp4", bytes(5000), "it is unknown data (first bytes 00 00 00 00 00 00 00 00)"),
        (
            "list.mp4",
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
            "it is a playlist ('#EXTM3U #EXTINF:1, file:///etc/hostname')",
        ),
        ("half.mp4", b"\0\0\0 ftypisom\0\0\2\0", "it does not decode (Invalid data found when processing input)"),
    ],
)
def test_what_came_instead_of_a_video_is_said(name, content, why, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(path) == why


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "GIF"])
def test_an_image_is_no_video(kind, tmp_path):
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, kind)
    path = tmp_path / "image.mp4"
    path.write_bytes(buffer.getvalue())
    assert refusal(path) == f"it is a {kind} image"


def test_a_codec_that_nobody_knows_is_said(tmp_path):
    path = tmp_path / "unknown.mp4"
    encode(moving_square(), path, fps=8)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    assert refusal(path) == "its codec is unknown"


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        write_silence(container, container.add_stream("aac", rate=48000))
    assert refusal(path) == "it holds sound and no pictures"


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert refusal(tmp_path / "missing.mp4") == "it cannot be read (No such file or directory)"
    assert refusal(tmp_path) == "it cannot be read (Is a directory)"


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "http:x.mp4", "-y.mp4", "ü 100%d.mp4"])
def test_a_file_name_is_only_a_name(name, tmp_path):
    path = tmp_path / name
    encode(moving_square(), path, fps=8)
    assert probe(path).frames == 16


def test_sound_beside_the_pictures_is_reported(tmp_path):
    path = tmp_path / "sound.mp4"
    write_packets(path, timestamps=list(range(8)), per_second=8, sound=True)
    facts = probe(path)
    assert (facts.has_audio, facts.frames, facts.duration) == (True, 8, 1.0)


def test_a_turned_picture_is_measured_as_it_is_shown(tmp_path):
    path = tmp_path / "turned.mp4"
    write_packets(path, timestamps=list(range(8)), per_second=8, rotation=90)
    assert probe(path).resolution == "48x64"


def test_uneven_frames_have_their_average_rate(tmp_path):
    path = tmp_path / "uneven.mp4"
    write_packets(path, timestamps=[0, 1, 2, 3, 13, 14, 15, 16], per_second=16)
    facts = probe(path)
    assert (facts.frames, facts.fps, facts.duration) == (8, 7, pytest.approx(17 / 16, abs=0.07))


@pytest.mark.parametrize("fps", [1, 8, Fraction(24000, 1001), 29.97, 60])
@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_the_rate_that_was_written_is_measured(fps, codec, tmp_path):
    path = tmp_path / f"rate{container_suffix(codec)}"
    encode(moving_square(), path, fps=fps, codec=codec)
    facts = probe(path)
    assert facts.fps == Fraction(fps).limit_denominator(1001)
    assert facts.duration == pytest.approx(16 / fps, abs=0.002)


def test_one_frame_is_a_video(tmp_path):
    path = tmp_path / "one.mp4"
    encode(moving_square(frames=1), path, fps=8)
    facts = probe(path)
    assert (facts.frames, facts.fps, facts.duration) == (1, 8, 0.125)


def test_frames_that_are_too_large_are_refused_before_they_are_decoded(tmp_path):
    path = tmp_path / "large.mp4"
    encode(np.zeros((2, 1024, 2048, 3), dtype=np.uint8), path, fps=8)
    why = refusal(path, expect=Expectation(max_pixels=1_000_000))
    assert why == "its frames are 2048x1024; at most 1,000,000 pixels are decoded"


def test_frames_that_are_too_many_are_refused(tmp_path):
    path = tmp_path / "many.mp4"
    encode(moving_square(frames=16), path, fps=8)
    assert refusal(path, expect=Expectation(max_frames=10)) == "it has more than 10 frames"


def test_a_file_that_needs_too_much_memory_is_refused(tmp_path):
    path = tmp_path / "heavy.mp4"
    encode(np.zeros((8, 2304, 4096, 3), dtype=np.uint8), path, fps=8, preset="low")
    assert refusal(path, expect=Expectation(memory_bytes=220 * 1024**2))
    assert probe(path).frames == 8


def test_a_file_that_takes_too_long_is_refused(tmp_path):
    path = tmp_path / "long.mp4"
    encode(np.zeros((60, 1088, 1920, 3), dtype=np.uint8), path, fps=8, preset="low")
    assert "decoding was stopped because it took" in refusal(path, timeout_seconds=0.05)


@settings(deadline=None)  # the machine may be busy
@given(
    frames=st.integers(2, 2000),
    fps=st.one_of(st.integers(1, 60).map(Fraction), st.sampled_from([Fraction(24000, 1001), Fraction(30000, 1001)])),
    ticks_per_second=st.sampled_from([1000, 12800, 16384, 90000]),
)
def test_rounded_timestamps_give_the_declared_rate_back(frames, fps, ticks_per_second):
    timeline = Timeline(Fraction(1, ticks_per_second))
    for number in range(frames):
        timeline.add(round(number * ticks_per_second / fps), round(ticks_per_second / fps))
    assert timeline.rate(fps) == fps
    assert abs(timeline.seconds(fps) - frames / fps) <= Fraction(2, ticks_per_second)


@settings(deadline=None)  # the machine may be busy
@given(frames=st.integers(24, 2000), fps=st.integers(1, 60))
def test_a_wrong_declared_rate_is_not_believed(frames, fps):
    timeline = Timeline(Fraction(1, 16384))
    for number in range(frames):
        timeline.add(round(Fraction(number * 16384, fps)), 16384 // fps)
    assert timeline.rate(Fraction(fps + 1)) == fps


def test_frames_without_timestamps_have_the_declared_rate():
    timeline = Timeline(Fraction(1, 25))
    for _ in range(50):
        timeline.add(None, 0)
    assert (timeline.rate(Fraction(25)), timeline.seconds(Fraction(25))) == (25, 2)


def test_a_prober_that_was_prepared_measures_the_same_and_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(np.zeros((8, 32, 48, 3), np.uint8), path, fps=8)
    prober = Prober()
    prober.prepare()
    (waiting,) = prober._ready
    assert prober.probe(path) == probe(path)
    assert prober.prepared
    prober.close()
    assert waiting._child.returncode is not None
    prober.prepare()
    assert prober._ready == [], "a closed prober starts nothing"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="without fork each file has a child of its own")
def test_one_child_measures_file_after_file_also_after_one_that_breaks_the_decoder(tmp_path: Path) -> None:
    good, bad = tmp_path / "clip.mp4", tmp_path / "bad.mp4"
    encode(np.zeros((8, 32, 48, 3), np.uint8), good, fps=8)
    bad.write_bytes(good.read_bytes()[:-200])
    prober = Prober()
    prober.prepare()
    (waiting,) = prober._ready
    for _ in range(2):
        assert prober.probe(good).frames == 8
        with pytest.raises(ProcessingError):
            prober.probe(bad)
    assert prober._ready == [waiting]
    prober.close()


def test_files_that_come_together_are_measured_together_and_few_children_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(np.zeros((8, 32, 48, 3), np.uint8), path, fps=8)
    prober = Prober()
    with ThreadPoolExecutor(5) as threads:
        assert {facts.frames for facts in threads.map(lambda _: prober.probe(path), range(10))} == {8}
    assert len(prober._ready) <= 2
    prober.close()


def test_a_child_that_waits_ends_when_its_parent_is_gone() -> None:
    prober = Prober()
    prober.prepare()
    (waiting,) = prober._ready
    assert waiting._child.stdin is not None
    waiting._child.stdin.close()  # as the end of the parent does
    assert waiting._child.wait(timeout=60) == 0
    prober.close()
