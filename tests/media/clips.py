"""Frames and files that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt


def moving_square(*, frames: int = 16, width: int = 64, height: int = 48) -> npt.NDArray[np.uint8]:
    """Return a red square that crosses a textured blue ground, so that every frame differs."""
    clip = np.empty((frames, height, width, 3), dtype=np.uint8)
    clip[...] = np.random.default_rng(0).integers(100, 130, (height, width, 1), dtype=np.uint8)
    clip[..., 2] += 80
    side = height // 3
    for number, frame in enumerate(clip):
        left = number * (width - side) // max(1, frames - 1)
        frame[side : 2 * side, left : left + side] = (230, 30, 30)
    return clip


def decoded(path: Path) -> npt.NDArray[np.uint8]:
    """Return every frame as a player shows it, [T, H, W, 3]."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.uint8)


def write_packets(
    path: Path, *, timestamps: list[int], per_second: int, rotation: float = 0, sound: bool = False
) -> None:
    """Write a file frame by frame, with timestamps in 1/`per_second` s; `encode` makes even ones only."""
    clip = moving_square(frames=len(timestamps))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=per_second, options={"bf": "0"})
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        audio = container.add_stream("aac", rate=48000) if sound else None
        for timestamp, pixels in zip(timestamps, clip, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = timestamp
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            write_silence(container, audio)


def write_silence(container: av.container.OutputContainer, audio: av.AudioStream) -> None:
    """Add a second of silence to a file that is being written."""
    for number in range(47):
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), dtype=np.float32), format="fltp", layout="stereo")
        silence.sample_rate, silence.pts = 48000, number * 1024
        container.mux(audio.encode(silence))
    container.mux(audio.encode())
