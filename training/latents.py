"""Clips as the transformer sees them: latents and caption embeddings, renewed all the time.

A fixed set of a few thousand clips is learned by heart; rendering and encoding a fresh one costs a quarter of a
training step. So each length of clip has a pool in memory: every batch puts new clips in, and each clip is used a few
times with new noise before it is dropped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo
from transformers import T5EncoderModel, T5Tokenizer

from training import text, vae, world

CAPTION_DROPOUT = 0.1
"""Share of samples without a caption: what classifier-free guidance steers away from."""

SHAPE_CONTRASTS = 0.33
"""Share of a clip's contrasts that are of shape; the others are of motion."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip. latents: [channels, latent frames, 6, 6]; embedding: [tokens, 128]; group: of the same contrast."""

    latents: torch.Tensor
    embedding: torch.Tensor
    group: int


class Pool:
    """Clips of one length: `batch` returns some, after a few new ones were put in."""

    def __init__(
        self,
        encoder: AutoencoderKLLTXVideo,
        tokenizer: T5Tokenizer,
        text_encoder: T5EncoderModel,
        *,
        frames: int,
        anywhere: bool,
        reuse: float,
        capacity: int = 900,
        rng: np.random.Generator,
    ) -> None:
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.frames = frames
        self.anywhere = anywhere
        self.reuse = reuse
        self.rng = rng
        self.groups: deque[list[Sample]] = deque(maxlen=capacity // len(world.SHAPES))
        self._made = 0
        self._owed = 0.0

    def _contrast(self) -> list[world.Scene]:
        """Return scenes that differ in one thing only: their shape, or (in clips, twice as often) their motion."""
        first = world.sample(self.rng, self.frames, anywhere=self.anywhere)
        if self.frames == 1 or self.rng.random() < SHAPE_CONTRASTS:
            variants = [replace(first, shape=shape) for shape in world.SHAPES]
        else:
            motions = self.rng.choice(world.MOTIONS, len(world.SHAPES), replace=False)
            variants = [world.moving(self.rng, first, str(motion), self.frames) for motion in motions]
        return [scene for scene in variants if not world.held_out(scene.combination)]

    @torch.no_grad()
    def _add(self, count: int) -> None:
        """Render `count` contrasts and keep their latents."""
        scenes, numbers = [], []
        for _ in range(count):
            variants = self._contrast()
            scenes += variants
            numbers += [self._made] * len(variants)
            self._made += 1
        captions = ["" if self.rng.random() < CAPTION_DROPOUT else world.caption(self.rng, scene) for scene in scenes]
        embeddings, mask = text.encode(self.tokenizer, self.text_encoder, captions)
        groups: dict[int, list[Sample]] = {}
        for begin in range(0, len(scenes), 12):
            part = slice(begin, begin + 12)
            clips = np.stack([world.render(scene, self.frames, vae.HALF_SIDE) for scene in scenes[part]])
            latents = self.encoder.encode(vae.to_tensor(clips)).latent_dist.mean
            for i, number in enumerate(numbers[part]):
                words = embeddings[begin + i][mask[begin + i].bool()].clone()
                groups.setdefault(number, []).append(Sample(latents[i].clone(), words, number))
        self.groups.extend(groups.values())

    def batch(self, size: int, *, grouped_share: float = 0.5) -> list[Sample]:
        """Return `size` samples, `grouped_share` of them as whole contrasts."""
        self._owed += size / self.reuse / len(world.SHAPES)
        missing = max(0, 2 * size // len(world.SHAPES) - len(self.groups))
        new = max(int(self._owed), missing)
        if new:
            self._add(new)
            self._owed = max(0.0, self._owed - new)
        chosen: list[Sample] = []
        while len(chosen) < grouped_share * size:
            chosen += self.groups[self.rng.integers(len(self.groups))]
        while len(chosen) < size:
            group = self.groups[self.rng.integers(len(self.groups))]
            chosen.append(replace(group[self.rng.integers(len(group))], group=-1 - len(chosen)))
        return chosen[:size]
