"""Stage 4: put the parts together as a diffusers pipeline in half precision, with the model card that cinelet reads.

python -m training.export training/runs/1 src/cinelet/backends/embedded/weights
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler, LTXPipeline, LTXVideoTransformer3DModel

from training import checkpoint, text, transformer, vae, world

STEPS = 20
GUIDANCE = 3.0
MAX_FRAMES = 49
CONTINUATION_FRAMES = 9
EXAMPLES = (
    "a red circle moving left on a black background",
    "a yellow square moving right on a black background",
    "a white triangle growing on a black background",
    "an orange ball falling on a black background",
    "a large purple triangle shrinking on a white background",
    "a green triangle moving up on a black background",
    "a blue triangle moving left on a white background",
    "a large pink square moving up slowly on a black background",
    "a big red triangle moving down on a gray background",
    "a yellow triangle shrinking on a black background",
    "an orange square sliding left on a white background",
    "a green box moving down fast on a black background",
)
"""Prompts that it draws well, whatever the seed."""


SIGNATURE = {
    "tasks": ["image-to-video", "text-to-video"],
    "parameters": [
        *("codec", "duration", "fps", "guidance_scale", "height", "image", "image_fit", "lora", "negative_prompt"),
        *("num_inference_steps", "preset", "prompt", "quality", "seed", "upscaler", "width"),
    ],
    "frames": [4, 1, 1],
    "size_multiple": 32,
}
"""What the pipeline's class tells; a test of the embedded model compares the two."""


def assemble(folder: Path, *, average: bool = True) -> LTXPipeline:
    """Build the pipeline of a run, in single precision."""
    state = checkpoint.load(folder / "transformer.pt")
    network = LTXVideoTransformer3DModel(**transformer.CONFIG)
    network.load_state_dict(state["average" if average else "model"])
    tokenizer, text_encoder = text.build()
    text_encoder.load_state_dict(checkpoint.load(folder / "text.pt")["text_encoder"])
    autoencoder = vae.new(8)
    autoencoder.load_state_dict(checkpoint.load(folder / "vae.pt")["average"])
    autoencoder.latents_mean.copy_(state["mean"])
    autoencoder.latents_std.copy_(state["deviation"])
    for module in (network, text_encoder, autoencoder):
        module.eval()
    return LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0),
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=network,
    )


def card(folder: Path) -> dict[str, Any]:
    """Return what cinelet must know and no configuration file says."""
    state = checkpoint.load(folder / "transformer.pt")
    return {
        "description": (
            "A tiny model that comes with cinelet and draws one coloured shape that moves over a plain background. "
            "It shows that everything works; for real scenes use another model."
        ),
        "license": "Apache-2.0",
        "native_fps": world.FPS,
        "default_size": [vae.SIDE, vae.SIDE],
        "sizes": [[vae.SIDE, vae.SIDE]],
        "default_steps": STEPS,
        "default_guidance": GUIDANCE,
        "max_frames": MAX_FRAMES,
        "continuation_frames": CONTINUATION_FRAMES,
        "vocabulary": {kind: list(words) for kind, words in world.vocabulary().items()},
        "filler_words": list(world.FILLER_WORDS),
        "examples": list(EXAMPLES),
        "trained_samples": int(state["samples"]),
        "signature": SIGNATURE,
    }


def export(folder: Path, target: Path) -> int:
    """Write the pipeline and `cinelet.json` to `target` (replaced as a whole); return its size in bytes."""
    pipeline = assemble(folder)
    for module in (pipeline.transformer, pipeline.text_encoder, pipeline.vae):
        module.half()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fresh = Path(scratch) / "weights"
        pipeline.save_pretrained(fresh, safe_serialization=True)
        (fresh / "cinelet.json").write_text(json.dumps(card(folder), indent=2) + "\n")
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    size = export(arguments.folder, arguments.target)
    print(f"{arguments.target}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
