"""What a clip shows, read from its pixels alone: colour, shape, motion and background.

Used by the evaluation and by the tests. It knows nothing of prompts; `python -m training.oracle` checks it on true
renders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training import world

Mask = NDArray[np.bool_]

DIFFERENT = 55
"""A pixel belongs to the object if a channel differs from the background by more than this (of 255)."""
MIN_AREA = 0.002
CIRCLE_LIMIT = 0.05
"""A radius profile whose third and fourth harmonics are both below this (of its mean) is a circle's."""
MOVED = 0.08
"""A translation moves the centre by more than this share of the picture over the clip."""
GREW = 1.5


@dataclass(frozen=True, slots=True)
class Reading:
    """What was seen; None where nothing was recognised. clean: share of the pixels outside the object that are flat."""

    color: str | None
    shape: str | None
    motion: str | None
    background: str
    clean: float
    start: tuple[float, float] | None = None
    """The object's first centre, in shares of the picture."""


def nearest(value: NDArray[np.floating], table: dict[str, tuple[int, int, int]]) -> str:
    """Return the name of the nearest colour."""
    return min(table, key=lambda name: float(((value - np.array(table[name])) ** 2).sum()))


def _profile(mask: Mask, bins: int = 60) -> NDArray[np.float64]:
    """Return the outline's distance from the centre by angle; [bins]."""
    y, x = np.nonzero(mask)
    y, x = y + 0.5 - (y + 0.5).mean(), x + 0.5 - (x + 0.5).mean()
    angle = ((np.arctan2(y, x) + np.pi) / (2 * np.pi) * bins).astype(int) % bins
    radius = np.zeros(bins)
    np.maximum.at(radius, angle, np.hypot(x, y))
    empty = radius == 0
    if empty.any() and not empty.all():
        radius[empty] = np.interp(np.nonzero(empty)[0], np.nonzero(~empty)[0], radius[~empty], period=bins)
    return radius


def shape_of(mask: Mask) -> str:
    """Name the shape of a mask that does not touch the picture's edge."""
    harmonics = np.abs(np.fft.rfft(_profile(mask)))
    third, fourth = 2 * harmonics[3] / harmonics[0], 2 * harmonics[4] / harmonics[0]
    if max(third, fourth) < CIRCLE_LIMIT:
        return "circle"
    return "triangle" if third > fourth else "square"


def _largest(mask: Mask) -> Mask:
    """Keep the rows and columns around the largest mass, so that specks far away do not count."""
    rows, columns = mask.sum(1), mask.sum(0)
    kept = np.zeros_like(mask)
    y, x = _run(rows), _run(columns)
    kept[y, x] = mask[y, x]
    return kept


def _run(counts: NDArray[np.integer]) -> slice:
    """Return the run of non-zero counts with the largest sum."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (counts > 0).astype(int), [0]])))
    runs = [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return max(runs, key=lambda run: int(counts[run].sum()), default=slice(0, 0))


def read(clip: NDArray[np.uint8]) -> Reading:
    """Read a clip, uint8 [frames, height, width, 3]."""
    frames, height, width, _ = clip.shape
    values = clip.astype(np.float32)
    border = np.concatenate([values[:, :2].reshape(-1, 3), values[:, -2:].reshape(-1, 3),
                             values[:, :, :2].reshape(-1, 3), values[:, :, -2:].reshape(-1, 3)])  # fmt: skip
    ground = np.median(border, 0)
    background = nearest(ground, world.BACKGROUNDS)
    differs = np.abs(values - ground).max(-1)
    masks = np.stack([_largest(mask) for mask in differs > DIFFERENT])
    areas = masks.sum((1, 2)) / (height * width)
    seen = np.flatnonzero(areas > MIN_AREA)
    clean = float((differs[~_grow(masks)] < 20).mean()) if (~_grow(masks)).any() else 0.0
    if len(seen) < max(3, frames // 2):
        return Reading(None, None, None, background, clean)
    pixels = values[masks]
    distance = np.abs(pixels - ground).max(1)
    color = nearest(np.median(pixels[distance >= np.median(distance)], 0), world.COLORS)
    centres = np.array([[c.mean() + 0.5 for c in np.nonzero(masks[i])] for i in seen]) / (height, width)
    inside = [i for i in seen if not (masks[i][[0, -1]].any() or masks[i][:, [0, -1]].any())]
    votes = [shape_of(masks[i]) for i in inside[:: max(1, len(inside) // 9)]]
    shape = max(set(votes), key=votes.count) if votes else None
    start = (float(centres[0, 1]), float(centres[0, 0]))
    return Reading(color, shape, _motion(centres, areas[seen]), background, clean, start)


def _grow(masks: NDArray[np.bool_], by: int = 6) -> NDArray[np.bool_]:
    """Widen masks by a few pixels."""
    grown = masks.copy()
    for axis in (1, 2):
        source = grown.copy()
        for shift in range(1, by + 1):
            grown |= np.roll(source, shift, axis) | np.roll(source, -shift, axis)
    return grown


def _motion(centres: NDArray[np.floating], areas: NDArray[np.floating]) -> str | None:
    """Name the motion of centres [frames, (y, x)] in shares of the picture, or None if it is none of ours."""
    part = max(1, len(centres) // 6)
    dy, dx = centres[-part:].mean(0) - centres[:part].mean(0)
    growth = areas[-part:].mean() / areas[:part].mean()
    along, across = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
    path = np.hypot(*np.diff(centres, axis=0).T).sum()
    if along > MOVED and along > 2 * across and path < 1.8 * along and 1 / GREW < growth < GREW:
        if abs(dx) > abs(dy):
            return "left" if dx < 0 else "right"
        return "up" if dy < 0 else "down"
    if along > MOVED:
        return None
    if growth >= GREW:
        return "growing"
    if growth <= 1 / GREW:
        return "shrinking"
    spread = float(np.ptp(centres, axis=0).max())
    return "still" if spread < MOVED else None


def main() -> None:
    """Check the oracle on true renders and print its errors."""
    rng = np.random.default_rng(3)
    scenes = [world.sample(rng, 17) for _ in range(300)]
    right = dict.fromkeys(("color", "shape", "motion", "background"), 0)
    for scene in scenes:
        reading = read(world.render(scene, 17, 192))
        for name in right:
            correct = getattr(reading, name) == getattr(scene, name)
            right[name] += correct
            if not correct:
                print(f"{name}: {getattr(scene, name)} ({scene.size}, {scene.speed}) read as {getattr(reading, name)}")
    print({name: round(count / len(scenes), 3) for name, count in right.items()})


if __name__ == "__main__":
    main()
