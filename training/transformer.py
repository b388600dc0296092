"""Stage 3: the transformer, by flow matching, on as many one-thread processes as there are cores.

    python -m training.transformer training/runs/1 --recipe images --minutes 15 --processes 2
    python -m training.transformer training/runs/1 --recipe videos --minutes 60 --processes 2

Everything follows what the LTX pipelines do at inference: x_t = (1 - sigma) x_0 + sigma noise, the target is noise -
x_0, the timestep is 1000 sigma. For image-to-video the first latent frame is clean, its tokens have timestep 0 and do
not count in the loss. For continuation two or three are clean, and positions are those of `LTXConditionPipeline`,
which counts time from the end of a latent frame where `LTXPipeline` counts from its start.

Single frames come first: colour, shape, size and background are all there, at a fifth of a clip's cost. What makes
shape come soon is to show one scene with each shape and the same noise, in one batch: all that differs is then the
shape and its word.

Run again to go on from `transformer.pt`; `--processes` may differ.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from diffusers import LTXVideoTransformer3DModel

from training import checkpoint, text, vae, world
from training.latents import Pool, Sample
from training.optimizer import MuonAdamW

CONFIG: dict[str, Any] = {
    "in_channels": vae.LATENT_CHANNELS,
    "out_channels": vae.LATENT_CHANNELS,
    "patch_size": 1,
    "patch_size_t": 1,
    "num_attention_heads": 4,
    "attention_head_dim": 48,
    "cross_attention_dim": 192,
    "num_layers": 6,
    "caption_channels": text.CONFIG["d_model"],
}
ROPE_SCALE = (vae.TEMPORAL_RATIO / world.FPS, vae.SPATIAL_RATIO, vae.SPATIAL_RATIO)
CONTINUATION_LATENTS = (2, 3)
LEARNING_RATE = 2e-3
HIGH_SIGMA_SHIFT = 5.0
"""Half of the noise levels are drawn uniformly and shifted by this towards 1, where shape is decided."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Shares of clip lengths (in frames) and what is given clean; batch sizes are for each process."""

    shares: dict[int, float]
    image_to_video: float
    continuation: float


RECIPES = {
    "images": Recipe({1: 1.0}, 0.0, 0.0),
    "videos": Recipe({1: 0.12, 9: 0.23, 17: 0.5, 25: 0.15}, 0.25, 0.15),
    "long": Recipe({1: 0.05, 9: 0.13, 17: 0.52, 25: 0.15, 49: 0.15}, 0.2, 0.15),
}
BATCH_SIZES = {1: 96, 9: 36, 17: 24, 25: 16, 49: 9}
REUSE = {1: 1.5, 9: 3.0, 17: 3.0, 25: 3.0, 49: 4.0}


def draw_sigmas(count: int) -> torch.Tensor:
    """Draw noise levels in 0..1: half logit-normal around 0.6, half uniform and shifted towards 1; shape [count]."""
    middle = torch.sigmoid(torch.randn(count) + 0.4)
    uniform = torch.rand(count)
    high = HIGH_SIGMA_SHIFT * uniform / (1 + (HIGH_SIGMA_SHIFT - 1) * uniform)
    return torch.where(torch.rand(count) < 0.5, middle, high)


def coordinates(latent_frames: int) -> torch.Tensor:
    """Return the positions that `LTXConditionPipeline` gives to the tokens: seconds, pixels, pixels; [1, 3, tokens]."""
    grid = torch.meshgrid(torch.arange(latent_frames), torch.arange(vae.GRID), torch.arange(vae.GRID), indexing="ij")
    t, y, x = (axis.flatten().float() for axis in grid)
    seconds = (t * vae.TEMPORAL_RATIO + 1 - vae.TEMPORAL_RATIO).clamp(min=0) / world.FPS
    return torch.stack([seconds, y * vae.SPATIAL_RATIO, x * vae.SPATIAL_RATIO])[None]


class Trainer:
    """One process's share of the work."""

    def __init__(self, folder: Path, *, rank: int, processes: int, recipe: Recipe, learning_rate: float) -> None:
        self.folder = folder
        self.rank = rank
        self.processes = processes
        self.recipe = recipe
        state = checkpoint.load(folder / "transformer.pt") if (folder / "transformer.pt").exists() else None
        self.step = int(state["step"]) if state else 0
        self.samples = int(state["samples"]) if state else 0
        torch.manual_seed(1)
        self.model = LTXVideoTransformer3DModel(**CONFIG)
        torch.nn.init.zeros_(self.model.proj_out.weight)
        torch.nn.init.zeros_(self.model.proj_out.bias)
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            hidden = parameter.ndim == 2 and (".attn" in name or ".ff." in name)
            (matrices if hidden else others).append(parameter)
        self.optimizer = MuonAdamW(matrices, others, learning_rate=learning_rate)
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.shared = np.random.default_rng(1000 + self.step)  # the same choices in every process
        own_seed = 7919 * (self.step + 1) + rank
        torch.manual_seed(own_seed)
        encoder = vae.new(4)
        encoder.load_state_dict(checkpoint.load(folder / "encoder.pt")["vae"])
        tokenizer, text_encoder = text.build()
        text_encoder.load_state_dict(checkpoint.load(folder / "text.pt")["text_encoder"])
        self.pools = {
            (frames, anywhere): Pool(
                encoder.eval(),
                tokenizer,
                text_encoder.eval(),
                frames=frames,
                anywhere=anywhere,
                reuse=REUSE[frames],
                rng=np.random.default_rng([own_seed, frames, anywhere]),
            )
            for frames in recipe.shares
            for anywhere in (False, True)
        }
        if state:
            self.model.load_state_dict(state["model"])
            self.average = state["average"]
            self.optimizer.load_state_dict(state["optimizer"])
            self.mean, self.deviation = state["mean"], state["deviation"]
        else:
            self.mean, self.deviation = self._measure_latents(encoder)
        weights = (self.deviation / self.deviation.max()).sqrt()
        self.channel_weights = weights / weights.mean()

    @torch.no_grad()
    def _measure_latents(self, encoder: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each channel's mean and standard deviation over the same clips in every process; [channels] each."""
        clips = vae.to_tensor(vae.sample_clips(96, 17, seed=5))
        latents = torch.cat([encoder.encode(part).latent_dist.mean for part in clips.split(12)])
        flat = latents.movedim(1, 0).flatten(1)
        return flat.mean(1), flat.std(1)

    def _batch(self, kind: str, frames: int) -> list[Sample]:
        anywhere = {"text": 0.0, "image": 0.3, "continuation": 0.7}[kind] > self.shared.random()
        return self.pools[frames, anywhere].batch(BATCH_SIZES[frames])

    def loss(self, samples: list[Sample], *, clean: int, condition_positions: bool) -> torch.Tensor:
        """Return the flow matching loss. clean: latent frames that are given without noise."""
        latents = torch.stack([sample.latents for sample in samples])
        latents = (latents - self.mean.view(1, -1, 1, 1, 1)) / self.deviation.view(1, -1, 1, 1, 1)
        batch, channels, latent_frames, height, width = latents.shape
        target_tokens = latents.movedim(1, -1).reshape(batch, -1, channels)
        tokens = target_tokens.shape[1]
        numbers = {group: i for i, group in enumerate(dict.fromkeys(sample.group for sample in samples))}
        of = torch.tensor([numbers[sample.group] for sample in samples])
        sigma = draw_sigmas(len(numbers))[of].view(batch, 1, 1)
        noise = torch.randn(len(numbers), tokens, channels)[of]
        noisy = (1 - sigma) * target_tokens + sigma * noise
        timestep = (1000 * sigma).view(batch)
        given = clean * height * width
        if given:
            noisy = torch.cat([target_tokens[:, :given], noisy[:, given:]], 1)
            timestep = torch.cat([torch.zeros(batch, given), timestep[:, None].expand(batch, tokens - given)], 1)
        longest = max(len(sample.embedding) for sample in samples)
        embedding = torch.zeros(batch, longest, text.CONFIG["d_model"])
        mask = torch.zeros(batch, longest)
        for i, sample in enumerate(samples):
            embedding[i, : len(sample.embedding)] = sample.embedding
            mask[i, : len(sample.embedding)] = 1
        output = self.model(
            hidden_states=noisy,
            encoder_hidden_states=embedding,
            timestep=timestep,
            encoder_attention_mask=mask,
            num_frames=latent_frames,
            height=height,
            width=width,
            rope_interpolation_scale=ROPE_SCALE,
            video_coords=coordinates(latent_frames).expand(batch, -1, -1) if condition_positions else None,
            return_dict=False,
        )[0]
        error = (output - (noise - target_tokens)).square() * self.channel_weights
        return error[:, given:].mean()

    def run(self, *, seconds: float, decay_from: float, report: Any = print) -> None:
        """Train for `seconds`; from the share `decay_from` of them the learning rate falls to 2 %."""
        begin, first, elapsed, losses = time.monotonic(), self.step, 0.0, dict[str, list[float]]()
        parameters = [*self.optimizer.matrices, *self.optimizer.others]
        lengths = list(self.recipe.shares)
        while elapsed < seconds:
            done = elapsed / seconds
            falling = max(0.0, (done - decay_from) / (1 - decay_from)) if decay_from < 1 else 0.0
            factor = min(1.0, (self.step - first + 1) / 30) * (0.02 + 0.49 * (1 + math.cos(math.pi * falling)))
            frames = int(self.shared.choice(lengths, p=list(self.recipe.shares.values())))
            draw = self.shared.random()
            kind, clean = "text", 0
            if frames >= 9 and draw < self.recipe.image_to_video:
                kind, clean = "image", 1
            elif frames >= 17 and draw < self.recipe.image_to_video + self.recipe.continuation:
                kind, clean = "continuation", int(self.shared.choice(CONTINUATION_LATENTS))
            samples = self._batch(kind, frames)
            loss = self.loss(samples, clean=clean, condition_positions=kind == "continuation")
            self.optimizer.zero_grad()
            loss.backward()
            elapsed, shown = self._synchronize(parameters, time.monotonic() - begin, loss.item())
            torch.nn.utils.clip_grad_norm_(self.optimizer.others, 1.0)
            self.optimizer.step(factor)
            self.step += 1
            self.samples += len(samples) * self.processes
            losses.setdefault(f"{kind}-{frames}", []).append(shown)
            if self.rank == 0 and self.step % 2 == 0:
                checkpoint.average(self.average, self.model.state_dict(), step=self.step // 2, decay=0.995)
            if self.rank == 0 and self.step % 25 == 0:
                means = " ".join(f"{name} {np.mean(values):.3f}" for name, values in sorted(losses.items()))
                report(f"step {self.step} samples {self.samples} seconds {elapsed:.0f} rate {factor:.2f} loss {means}")
                losses.clear()
            if self.rank == 0 and self.step % 100 == 0:
                self.save()
        if self.rank == 0:
            self.save()

    def _synchronize(self, parameters: list[torch.nn.Parameter], elapsed: float, loss: float) -> tuple[float, float]:
        """Average gradients, elapsed time and loss over the processes."""
        if self.processes == 1:
            return elapsed, loss
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.tensor([elapsed, loss])])
        torch.distributed.all_reduce(flat)
        flat /= self.processes
        for parameter, part in zip(parameters, flat[:-2].split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)
        return flat[-2].item(), flat[-1].item()

    def save(self) -> None:
        """Write `transformer.pt`."""
        checkpoint.save(
            {
                "model": self.model.state_dict(),
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
                "mean": self.mean,
                "deviation": self.deviation,
                "step": self.step,
                "samples": self.samples,
            },
            self.folder / "transformer.pt",
        )


def _process(rank: int, arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if arguments.processes > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(arguments.port))
        torch.distributed.init_process_group("gloo", rank=rank, world_size=arguments.processes)
    trainer = Trainer(
        arguments.folder,
        rank=rank,
        processes=arguments.processes,
        recipe=RECIPES[arguments.recipe],
        learning_rate=arguments.learning_rate,
    )
    log = arguments.folder / "transformer.log"

    def report(line: str) -> None:
        print(line, flush=True)
        with log.open("a") as file:
            file.write(line + "\n")

    trainer.run(seconds=60 * arguments.minutes, decay_from=arguments.decay_from, report=report)
    if arguments.processes > 1:
        torch.distributed.destroy_process_group()


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", choices=RECIPES, default="videos")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--decay-from", type=float, default=1.0, help="share of the time after which the rate falls")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--port", type=int, default=29517)
    arguments = parser.parse_args()
    if arguments.processes == 1:
        _process(0, arguments)
    else:
        torch.multiprocessing.spawn(_process, (arguments,), nprocs=arguments.processes)


if __name__ == "__main__":
    main()
