"""Pictures to put in, frames to look at."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def example_image(*, width: int = 64, height: int = 64) -> bytes:
    """Return a PNG: a bright square on a dark ground."""
    from PIL import Image

    image = Image.new("RGB", (width, height), (20, 30, 60))
    image.paste((240, 120, 40), (width // 4, height // 4, width // 2, height // 2))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def decoded_frames(path: Path) -> NDArray[np.uint8]:
    """Decode every frame of a video: uint8 [frames, height, width, 3]."""
    import av
    import numpy as np

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
