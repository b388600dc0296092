"""Stage 1: the autoencoder. Writes the encoder in closed form, then trains the decoder at 192 px.

    python -m training.decoder --minutes 40 training/runs/1

Writes `encoder.pt` (what the transformer needs) after about 20 s and `vae.pt` while it trains; run again to go on.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own convention

from training import checkpoint, vae, world
from training.optimizer import MuonAdamW

BATCH = 4
LEARNING_RATE = 1e-3
EDGE_WEIGHT = 6.0
MAX_LATENT_NOISE = 0.15
"""Noise added to the latents, in their deviations: the decoder must forgive what the transformer gets wrong."""


def prepare(folder: Path) -> None:
    """Write `encoder.pt` (for 96 px clips) and the first `vae.pt` (for 192 px clips) unless they exist."""
    if (folder / "vae.pt").exists():
        return
    small = vae.closed_form(vae.sample_clips(300, 17))
    checkpoint.save({"vae": small.state_dict()}, folder / "encoder.pt")
    state = vae.double(small).state_dict()
    checkpoint.save({"vae": state, "average": state, "step": 0}, folder / "vae.pt")


def train(folder: Path, *, seconds: float, seed: int | None = None) -> None:
    """Train the decoder for `seconds`; the encoder stays as it is."""
    prepare(folder)
    small = vae.new(4)
    small.load_state_dict(checkpoint.load(folder / "encoder.pt")["vae"])
    small.eval()
    large = vae.new(8)
    state = checkpoint.load(folder / "vae.pt")
    large.load_state_dict(state["vae"])
    mean = {name: value.clone() for name, value in state["average"].items()}
    step = first = int(state["step"])
    decoder = large.decoder.train()
    is_hidden = {name: p.ndim == 5 and name not in {"conv_in.conv.weight", "conv_out.conv.weight"}
                 for name, p in decoder.named_parameters()}  # fmt: skip
    optimizer = MuonAdamW(
        (p for name, p in decoder.named_parameters() if is_hidden[name]),
        (p for name, p in decoder.named_parameters() if not is_hidden[name]),
        learning_rate=LEARNING_RATE,
        weight_decay=0.0,
    )
    rng = np.random.default_rng(seed)
    begin, losses = time.monotonic(), []
    while (elapsed := time.monotonic() - begin) < seconds:
        done = elapsed / seconds
        factor = min(1.0, (step - first + 1) / 30) * (
            1 if done < 0.4 else 0.02 + 0.49 * (1 + math.cos(math.pi * (done - 0.4) / 0.6))
        )
        frames = 9 if rng.random() < 0.7 else 17
        scenes = [world.sample(rng, frames, anywhere=bool(rng.random() < 0.4)) for _ in range(BATCH)]
        target = vae.to_tensor(np.stack([world.render(scene, frames, vae.SIDE) for scene in scenes]))
        half = F.avg_pool3d(target, (1, 2, 2))
        with torch.no_grad():
            latents = small.encode(half).latent_dist.sample()
            spread = latents.std((0, 2, 3, 4), keepdim=True)
            latents = latents + torch.randn_like(latents) * spread * float(rng.uniform(0, MAX_LATENT_NOISE))
        with torch.autocast("cpu", torch.bfloat16):
            output = large.decode(latents).sample
        error = output.float() - target
        near = (target - target[:, :, :1, :1, :1]).abs().amax(1, keepdim=True) > 0.08  # the object ...
        weight = 1 + EDGE_WEIGHT * F.max_pool3d(near.float(), (1, 13, 13), 1, (0, 6, 6))  # ... and what is around it
        absolute = (error.abs() * weight).sum() / weight.sum() / 3
        squared = (error.square() * weight).sum() / weight.sum() / 3
        optimizer.zero_grad()
        (squared + (0.1 + 0.4 * done) * absolute).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.others, 1.0)
        optimizer.step(factor)
        step += 1
        checkpoint.average(mean, large.state_dict(), step=step - first, decay=0.99)
        losses.append(error.detach().square().mean().item())
        if step % 25 == 0:
            print(
                f"decoder step {step} seconds {elapsed:.0f} rate {factor:.2f} mse {np.mean(losses[-25:]):.5f}",
                flush=True,
            )
        if step % 100 == 0:
            checkpoint.save({"vae": large.state_dict(), "average": mean, "step": step}, folder / "vae.pt")
    checkpoint.save({"vae": large.state_dict(), "average": mean, "step": step}, folder / "vae.pt")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(arguments.folder, seconds=60 * arguments.minutes)


if __name__ == "__main__":
    main()
