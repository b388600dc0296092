"""Stage 2: the tokenizer and the text encoder.

A text encoder that starts from noise says nothing, and the transformer wastes most of a short training on waiting for
it. So the encoder is taught first, in two minutes, to say what a caption says: from the mean of its outputs, linear
heads must name colour, shape, motion, background, size and speed. Then it is frozen.

    python -m training.text training/runs/1
"""

from __future__ import annotations

import argparse
import string
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own convention
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from training import checkpoint, world

MAX_TOKENS = 128
"""The LTX pipeline pads each prompt to this length and gives the encoder no mask, so training does the same."""

LATER_WORDS = [
    "cyan",
    "brown",
    "black",
    "star",
    "bouncing",
    "bounces",
    "bounce",
    "rotating",
    "rotates",
    "spinning",
    "spins",
    "turning",
    "orbiting",
    "circling",
    "circles",
    "pulsing",
    "two",
    "three",
    "objects",
    "left",
    "top",
    "bottom",
    "center",
    "middle",
    "side",
    "tiny",
    "huge",
    "bright",
    "one",
    "it",
    "then",
    "after",
    "before",
]
"""Words of the world as it is to become, so that the token numbers need not change when it grows."""

CONFIG = {
    "d_model": 128,
    "d_kv": 32,
    "num_heads": 4,
    "d_ff": 256,
    "num_layers": 2,
    "num_decoder_layers": 0,
    "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 64,
    "is_encoder_decoder": False,
    "use_cache": False,
    "pad_token_id": 0,
    "eos_token_id": 1,
}

ATTRIBUTES = {
    "color": tuple(world.COLORS),
    "shape": world.SHAPES,
    "motion": world.MOTIONS,
    "background": (*world.BACKGROUNDS, "unsaid"),
    "size": tuple(world.SIZES),
    "speed": tuple(world.SPEEDS),
}


def tokens() -> list[tuple[str, float]]:
    """List the tokenizer's pieces with their scores: whole words, then single characters."""
    words = {word for group in world.vocabulary().values() for word in group}
    words |= set(world.FILLER_WORDS) | set(LATER_WORDS)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0)]
    for word in sorted(words):
        pieces += [(f"▁{form}", -3.0) for form in dict.fromkeys((word, word.capitalize()))]
    known = {piece for piece, _ in pieces}
    characters = string.ascii_letters + string.digits + ".,:;!?-'\"()"
    return pieces + [(c, -9.0 if c.isalnum() else -3.0) for c in characters if c not in known]


def build() -> tuple[T5Tokenizer, T5EncoderModel]:
    """Return the tokenizer and an encoder with random weights."""
    pieces = tokens()
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=MAX_TOKENS)
    rows = -(-len(pieces) // 8) * 8
    return tokenizer, T5EncoderModel(T5Config(vocab_size=rows, **CONFIG))


def encode(tokenizer: T5Tokenizer, encoder: T5EncoderModel, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings [batch, longest, 128] and their mask [batch, longest], computed as the pipeline does."""
    batch = tokenizer(captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    longest = int(batch.attention_mask.sum(1).max())
    return encoder(batch.input_ids)[0][:, :longest], batch.attention_mask[:, :longest]


def _labels(scene: world.Scene, caption: str) -> list[int]:
    said = any(f"{word} background" in caption.lower() or f"on {word}" in caption.lower()
               for word in world.BACKGROUND_WORDS[scene.background])  # fmt: skip
    values = {
        "color": scene.color,
        "shape": scene.shape,
        "motion": scene.motion,
        "background": scene.background if said else "unsaid",
        "size": scene.size if any(w and w in caption.split() for w in world.SIZE_WORDS[scene.size]) else "medium",
        "speed": scene.speed if any(w and w in caption for w in world.SPEED_WORDS[scene.speed]) else "normal",
    }
    return [choices.index(values[name]) for name, choices in ATTRIBUTES.items()]


def train(folder: Path, *, steps: int = 700, batch: int = 48, learning_rate: float = 2e-3, seed: int = 0) -> None:
    """Teach the encoder what captions say; writes `text.pt`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer, encoder = build()
    heads = torch.nn.ModuleDict({name: torch.nn.Linear(CONFIG["d_model"], len(c)) for name, c in ATTRIBUTES.items()})
    optimizer = torch.optim.AdamW([*encoder.parameters(), *heads.parameters()], lr=learning_rate, betas=(0.9, 0.98))
    begin = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 30, (steps - step) / (0.5 * steps))
        scenes = [world.sample(rng, 17) for _ in range(batch)]
        captions = [world.caption(rng, scene) for scene in scenes]
        labels = torch.tensor([_labels(s, c) for s, c in zip(scenes, captions, strict=True)])
        embeddings, mask = encode(tokenizer, encoder, captions)
        pooled = (embeddings * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        predictions = {name: head(pooled) for name, head in heads.items()}
        losses = [F.cross_entropy(predictions[name], labels[:, i]) for i, name in enumerate(ATTRIBUTES)]
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        if step % 50 == 49:
            right = {name: (predictions[name].argmax(1) == labels[:, i]).float().mean().item()
                     for i, name in enumerate(ATTRIBUTES)}  # fmt: skip
            shown = " ".join(f"{name} {share:.2f}" for name, share in right.items())
            print(f"text step {step + 1} seconds {time.monotonic() - begin:.0f} {shown}", flush=True)
    checkpoint.save({"text_encoder": encoder.state_dict()}, folder / "text.pt")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=700)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(arguments.folder, steps=arguments.steps)


if __name__ == "__main__":
    main()
