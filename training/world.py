"""The world that the embedded model knows: one captioned, coloured shape that moves over a plain background.

Every motion follows a law that does not depend on when it is looked at (a constant velocity that comes back in on the
other side, a radius that approaches a limit), so that a clip can be continued from any of its moments.

Lengths are pixels of a 128-pixel picture, times are seconds, clips are uint8 arrays [frames, height, width, 3].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Clip = NDArray[np.uint8]

SIDE = 128
FPS = 8

COLORS = {
    "red": (222, 38, 38),
    "orange": (246, 138, 26),
    "yellow": (242, 214, 40),
    "green": (38, 178, 62),
    "blue": (46, 78, 228),
    "purple": (146, 54, 202),
    "pink": (250, 132, 186),
    "white": (246, 246, 246),
}
BACKGROUNDS = {"black": (10, 10, 12), "white": (246, 246, 246), "gray": (122, 122, 122)}
BACKGROUND_SHARES = (0.45, 0.3, 0.25)
SHAPES = ("circle", "square", "triangle")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
MOTIONS = ("left", "right", "up", "down", "still", "growing", "shrinking")
SIZES = {"small": 16.0, "medium": 23.0, "large": 30.0}
SPEEDS = {"slow": 16.0, "normal": 26.0, "fast": 42.0}
TIME_CONSTANTS = {"slow": 2.2, "normal": 1.4, "fast": 0.8}

SHAPE_WORDS = {
    "circle": ("circle", "circle", "circle", "ball", "disc", "disk", "dot"),
    "square": ("square", "square", "square", "box", "block"),
    "triangle": ("triangle",),
}
SIZE_WORDS = {"small": ("small", "little"), "medium": ("",), "large": ("large", "big")}
SPEED_WORDS = {"slow": ("slowly", "slow"), "normal": ("",), "fast": ("fast", "quickly")}
BACKGROUND_WORDS = {"black": ("black", "black", "dark"), "white": ("white",), "gray": ("gray", "gray", "grey")}
MOTION_PHRASES = {
    "left": ("moving left", "moving to the left", "moves left", "going left", "sliding left", "sliding to the left",
             "flying left", "rolling left", "moving from right to left"),
    "right": ("moving right", "moving to the right", "moves right", "going right", "sliding right",
              "sliding to the right", "flying right", "rolling right", "moving from left to right"),
    "up": ("moving up", "moves up", "going up", "rising", "rises", "floating up", "flying up", "moving upwards"),
    "down": ("moving down", "moves down", "going down", "falling", "falls", "falling down", "sinking",
             "moving downwards"),
    "still": ("standing still", "not moving", "that does not move", "staying still", "still", "at rest"),
    "growing": ("growing", "grows", "growing bigger", "getting bigger", "getting larger", "becoming bigger",
                "expanding"),
    "shrinking": ("shrinking", "shrinks", "getting smaller", "becoming smaller"),
}  # fmt: skip
PREFIXES = ("", "", "", "", "", "a video of ", "an animation of ", "a clip of ", "video: ")
FILLER_WORDS = (
    "a", "an", "the", "of", "on", "in", "with", "and", "to", "from", "that", "is", "it", "its", "over", "against",
    "across", "video", "animation", "clip", "background", "colored", "coloured", "shape", "which", "there", "does",
    "front", "plain", "screen", "frame", "slow", "motion",
)  # fmt: skip

REACH = 1.2
"""The farthest point of any shape, a triangle's tip, in radii from its centre."""

HELD_OUT_SHARE = 11
"""One in so many combinations of colour, shape, motion and background is never trained on."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What one clip shows. `radius` is the size class's radius with its jitter; a square's half side is 0.87 of it."""

    color: str
    shape: str
    motion: str
    background: str
    size: str
    speed: str
    radius: float
    rate: float
    """px/s for a translation, the time constant in seconds for a change of size."""
    x: float
    y: float
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    start: float = 0.0
    """Seconds for which the scene has already been running when the clip begins."""

    @property
    def combination(self) -> tuple[str, str, str, str]:
        """Return what the held-out split is made of."""
        return self.color, self.shape, self.motion, self.background


def combinations() -> list[tuple[str, str, str, str]]:
    """List every (colour, shape, motion, background) in which the shape can be seen."""
    return [
        (color, shape, motion, background)
        for color in COLORS
        for shape in SHAPES
        for motion in MOTIONS
        for background in BACKGROUNDS
        if color != background
    ]


def held_out(combination: tuple[str, str, str, str]) -> bool:
    """Say whether the combination belongs to the evaluation and must never be trained on."""
    color, shape, motion, background = combination
    index = (
        list(COLORS).index(color) * 37
        + SHAPES.index(shape) * 17
        + MOTIONS.index(motion) * 5
        + list(BACKGROUNDS).index(background) * 3
    )
    return index % HELD_OUT_SHARE == 0


def _place(rng: np.random.Generator, scene: Scene, frames: int) -> Scene:
    """Choose where the scene begins, so that a translation stays inside the picture for the whole clip."""
    seconds = max((frames - 1) / FPS, 1 / FPS)
    radius = scene.radius
    largest = _limits(scene)[1] if scene.motion in {"growing", "shrinking"} else radius
    reach = REACH * largest
    free = max(SIDE / 2 - reach, 0)
    x, y = (SIDE / 2 + rng.uniform(-0.75, 0.75) * free for _ in range(2))
    if scene.motion not in DIRECTIONS:
        return replace(scene, x=x, y=y)
    room = SIDE - 2 * reach
    rate = min(scene.rate, room / seconds)
    slack = room - rate * seconds
    first = reach + rng.uniform(0, 1) * slack
    position = first if scene.motion in {"right", "down"} else SIDE - first
    return (
        replace(scene, x=position, rate=rate)
        if scene.motion in {"left", "right"}
        else replace(scene, y=position, rate=rate)
    )


def sample(rng: np.random.Generator, frames: int, *, anywhere: bool = False) -> Scene:
    """Draw a scene for a clip of `frames`, never a held-out combination.

    anywhere: begin at any moment of the scene, also while it leaves the picture on one side and returns on the other.
    """
    while True:
        background = str(rng.choice(list(BACKGROUNDS), p=BACKGROUND_SHARES))
        combination = str(rng.choice(list(COLORS))), str(rng.choice(SHAPES)), str(rng.choice(MOTIONS)), background
        if combination[0] != background and not held_out(combination):
            return scene_of(rng, combination, frames, anywhere=anywhere)


def scene_of(
    rng: np.random.Generator, combination: tuple[str, str, str, str], frames: int, *, anywhere: bool = False
) -> Scene:
    """Draw a scene with the given (colour, shape, motion, background)."""
    color, shape, motion, background = combination
    size = str(rng.choice(list(SIZES), p=(0.22, 0.43, 0.35)))
    speed = str(rng.choice(list(SPEEDS), p=(0.2, 0.55, 0.25)))
    rates = TIME_CONSTANTS if motion in {"growing", "shrinking"} else SPEEDS
    scene = Scene(
        color=color,
        shape=shape,
        motion=motion,
        background=background,
        size=size,
        speed=speed,
        radius=SIZES[size] * rng.uniform(0.93, 1.07),
        rate=rates[speed] * rng.uniform(0.92, 1.08),
        x=SIDE / 2,
        y=SIDE / 2,
        tint=tuple(rng.uniform(-5, 5, 3)),
    )
    scene = _place(rng, scene, frames)
    return replace(scene, start=rng.uniform(0, 8)) if anywhere else scene


def moving(rng: np.random.Generator, scene: Scene, motion: str, frames: int) -> Scene:
    """Return the scene with another motion: same thing, same background, same size and speed."""
    rates = TIME_CONSTANTS if motion in {"growing", "shrinking"} else SPEEDS
    changed = replace(scene, motion=motion, rate=rates[scene.speed] * rng.uniform(0.92, 1.08), x=SIDE / 2, y=SIDE / 2)
    return _place(rng, changed, frames)


def _limits(scene: Scene) -> tuple[float, float]:
    """Return the radii between which a scene grows or shrinks."""
    return 0.45 * scene.radius, min(1.75 * scene.radius, 46.0)


def _tracks(scene: Scene, frames: int) -> tuple[Floats, Floats, Floats]:
    """Return x, y and radius, each of shape [frames]."""
    time = scene.start + np.arange(frames, dtype=np.float32) / FPS
    step_x, step_y = DIRECTIONS.get(scene.motion, (0, 0))
    smallest, largest = _limits(scene)
    fading = np.exp(-time / scene.rate)
    radius: Floats = np.full(frames, scene.radius, np.float32)
    if scene.motion == "growing":
        radius = largest - (largest - smallest) * fading
    elif scene.motion == "shrinking":
        radius = smallest + (largest - smallest) * fading
    outside = REACH * scene.radius
    period = SIDE + 2 * outside
    x, y = scene.x + step_x * scene.rate * time, scene.y + step_y * scene.rate * time
    return (x + outside) % period - outside, (y + outside) % period - outside, radius


def _distance(shape: str, x: Floats, y: Floats, radius: Floats) -> Floats:
    """Return the signed distance to the shape's edge, negative inside."""
    distance: Floats
    match shape:
        case "circle":
            distance = np.sqrt(x * x + y * y) - radius
        case "square":
            distance = np.maximum(np.abs(x), np.abs(y)) - 0.87 * radius
        case "triangle":  # equilateral, tip up; y grows downwards
            slope = np.float32(np.sqrt(3) / 2)
            distance = np.maximum(np.maximum(y, slope * x - 0.5 * y), -slope * x - 0.5 * y) - 0.6 * radius
        case _:
            raise ValueError(f"unknown shape {shape!r}")
    return distance


def render(scene: Scene, frames: int, side: int = SIDE) -> Clip:
    """Draw the clip with anti-aliased edges at `side` pixels; returns uint8 [frames, side, side, 3]."""
    scale = side / SIDE
    x, y, radius = (track[:, None, None] * scale for track in _tracks(scene, frames))
    centres = np.arange(side, dtype=np.float32) + 0.5
    distance = _distance(scene.shape, centres[None, None, :] - x, centres[None, :, None] - y, radius)
    cover = np.clip(0.5 - distance, 0, 1)[..., None]
    background = np.array(BACKGROUNDS[scene.background], np.float32)
    color = np.clip(np.array(COLORS[scene.color], np.float32) + np.array(scene.tint, np.float32), 0, 255)
    clip: Clip = np.rint(background + cover * (color - background)).astype(np.uint8)
    return clip


def caption(rng: np.random.Generator, scene: Scene) -> str:
    """Say in words what the clip shows; what is not said (background, size, speed) may be anything."""
    say_size = scene.size != "medium" and rng.random() < 0.8
    size = str(rng.choice(SIZE_WORDS[scene.size])) if say_size else ""
    shape = str(rng.choice(SHAPE_WORDS[scene.shape]))
    phrase = MOTION_PHRASES[scene.motion][0] if rng.random() < 0.4 else str(rng.choice(MOTION_PHRASES[scene.motion]))
    if scene.motion != "still" and scene.speed != "normal" and rng.random() < 0.8:
        speed = str(rng.choice(SPEED_WORDS[scene.speed][:1] if scene.speed == "slow" else SPEED_WORDS[scene.speed]))
        phrase = f"{speed} {phrase}" if speed.endswith("ly") and rng.random() < 0.2 else f"{phrase} {speed}"
    thing = " ".join(word for word in (size, scene.color, shape) if word)
    article = "an" if thing[0] in "aeiou" else "a"
    background = str(rng.choice(BACKGROUND_WORDS[scene.background]))
    style = rng.random()
    if style < 0.12:  # keywords
        text = f"{thing}, {phrase}"
        tail = f", {background} background"
    else:
        text = f"{article} {thing} {'is ' if phrase.endswith('ing') and rng.random() < 0.1 else ''}{phrase}"
        tail = str(rng.choice((f" on a {background} background", f" on a {background} background", f" on {background}",
                               f" against a {background} background", f", {background} background")))  # fmt: skip
    if rng.random() < 0.6:
        text = f"on a {background} background, {text}" if rng.random() < 0.08 else text + tail
    text = str(rng.choice(PREFIXES)) + text
    if rng.random() < 0.2:
        text = text[0].upper() + text[1:]
    return text + "." if rng.random() < 0.15 else text


def vocabulary() -> dict[str, tuple[str, ...]]:
    """Return the words that mean something, by kind, in the order in which a person would list them."""

    def unique(groups: object) -> tuple[str, ...]:
        return tuple(dict.fromkeys(word for group in groups for text in group for word in text.split()))  # type: ignore[attr-defined]

    motions = unique(MOTION_PHRASES.values())
    return {
        "color": tuple(COLORS),
        "shape": unique(SHAPE_WORDS.values()),
        "motion": tuple(word for word in motions if word not in FILLER_WORDS),
        "size": unique(SIZE_WORDS.values()),
        "speed": unique(SPEED_WORDS.values()),
        "background": unique(BACKGROUND_WORDS.values()),
    }
