"""Begin a run from weights that were exported: to train them further when the checkpoints are gone.

python -m training.restart src/cinelet/backends/embedded/weights training/runs/2

Writes what each stage would have left: `encoder.pt`, `vae.pt`, `text.pt`, and `transformer.pt` with a fresh optimizer.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from diffusers import LTXPipeline

from training import checkpoint, text, transformer, vae


def restart(weights: Path, folder: Path, *, samples: int) -> None:
    """Fill `folder` with checkpoints made of a pipeline's weights. samples: how many they have been trained on."""
    pipeline = LTXPipeline.from_pretrained(weights, dtype=torch.float32)
    tokenizer, text_encoder = text.build()
    if tokenizer.get_vocab() != pipeline.tokenizer.get_vocab():
        raise SystemExit(f"error: {weights} knows other words than training/world.py; train the text encoder anew")
    text_encoder.load_state_dict(pipeline.text_encoder.state_dict())
    checkpoint.save({"text_encoder": text_encoder.state_dict()}, folder / "text.pt")
    checkpoint.save({"vae": vae.halve(pipeline.vae).state_dict()}, folder / "encoder.pt")
    autoencoder = pipeline.vae.state_dict()
    checkpoint.save({"vae": autoencoder, "average": copy.deepcopy(autoencoder), "step": 0}, folder / "vae.pt")
    trainer = transformer.Trainer(
        folder, rank=0, processes=1, recipe=transformer.RECIPES["images"], learning_rate=transformer.LEARNING_RATE
    )
    trainer.model.load_state_dict(pipeline.transformer.state_dict())
    trainer.average = copy.deepcopy(trainer.model.state_dict())
    trainer.mean, trainer.deviation = pipeline.vae.latents_mean.clone(), pipeline.vae.latents_std.clone()
    trainer.step, trainer.samples = 1, samples
    trainer.save()


def main() -> None:
    """Read the command line and write the checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=0, help="how many the weights were trained on, for the log")
    arguments = parser.parse_args()
    restart(arguments.weights, arguments.folder, samples=arguments.samples)


if __name__ == "__main__":
    main()
