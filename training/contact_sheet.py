"""The README's picture: real files that cinelet made with the shipped weights, a row a prompt.

`python -m training.contact_sheet docs/images/contact-sheet.png`
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cinelet import generate
from cinelet.testing import decoded_frames

PROMPTS = {
    "a red circle moving left": 1,
    "a large yellow square growing on a black background": 1,
    "a blue triangle moving up on a white background": 1,
    "a green ball shrinking, gray background": 1,
    "a purple triangle sliding to the right": 1,
    "an orange square falling on a black background": 1,
}
COLUMNS = 7
CELL = 128
GAP = 4
LABEL = 22


def draw(path: Path, *, prompts: dict[str, int], duration: float = 2) -> None:
    """Make each prompt's video with its seed, and write frames of all of them to a PNG."""
    width = COLUMNS * (CELL + GAP) + GAP
    sheet = Image.new("RGB", (width, len(prompts) * (CELL + LABEL + GAP) + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for row, (prompt, seed) in enumerate(prompts.items()):
        with generate(prompt, model="embedded", duration=duration, seed=seed) as video:
            frames = decoded_frames(video.path)
        top = GAP + row * (CELL + LABEL + GAP)
        pen.text((GAP, top + 2), prompt, fill="black", font=font)
        for column, index in enumerate(np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int)):
            cell = Image.fromarray(frames[index]).resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(cell, (GAP + column * (CELL + GAP), top + LABEL))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    draw(parser.parse_args().path, prompts=PROMPTS)


if __name__ == "__main__":
    main()
