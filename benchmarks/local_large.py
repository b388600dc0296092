"""Models of more than a billion parameters: true shapes, random weights. A section of `benchmarks/local.py`.

Random weights say how long a step takes, and nothing about pictures. On a processor the videos are as small as they can
be: a step still reads and multiplies by every weight.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.local_speed import QUALITIES, Bench

if TYPE_CHECKING:
    from benchmarks.report import Row

TEXT_WIDTH = 4096
BATCH = 4
FIELDS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "cuda": {
        "Wan 1.3B shapes": {"duration": 2, "fps": 16, "width": 832, "height": 480, "num_inference_steps": 30},
        "LTX 2B shapes": {"duration": 3, "fps": 24, "width": 704, "height": 512, "num_inference_steps": 30},
    },
    "cpu": {
        "Wan 1.3B shapes": {"duration": 0.3, "fps": 16, "width": 96, "height": 96, "num_inference_steps": 15},
        "LTX 2B shapes": {"duration": 0.4, "fps": 24, "width": 128, "height": 128, "num_inference_steps": 15},
    },
}
"""What is asked of each model, by the kind of the device."""
BATCH_FIELDS: Mapping[str, Mapping[str, int]] = {
    "cuda": {"num_frames": 17, "num_inference_steps": 8},
    "cpu": {"num_frames": 9, "num_inference_steps": 2},
}


def large(repeats: int) -> list[Row]:
    """Time each quality, after one video of warm-up, and a batch of 4 against 4 alone, on models of true shapes.

    `compiling` is what the warm-up took beyond a step. On a processor, where a step takes seconds and nothing is
    compiled, each quality makes one video.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    builders = {"Wan 1.3B shapes": large_wan, "LTX 2B shapes": large_ltx}
    return [
        row
        for name, build in builders.items()
        for row in rows(name, build, device=device, repeats=repeats if device == "cuda" else 0)
    ]


def rows(name: str, build: Callable[[], Any], *, device: str, repeats: int) -> list[Row]:
    """Return the rows of one model. build: makes its pipeline."""
    fields = FIELDS[device][name]
    sizes = {"width": fields["width"], "height": fields["height"], **BATCH_FIELDS[device]}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pipeline = build()
        parameters = sum(weight.numel() for weight in pipeline.transformer.parameters())
        pipeline.save_pretrained(folder / "model", safe_serialization=True)
        del pipeline
        with Bench(f"local:{folder / 'model'}", folder, device) as bench:
            found = [_quality_row(bench, one, fields, repeats) for one in QUALITIES]
            models = bench.backend._session.models  # noqa: SLF001  (what is loaded already, rather than another)
            batch = _batch(next(iter(models._models.values())).pipeline, sizes)  # noqa: SLF001

    exact = found[0]["denoising s"]
    return [
        {
            "model": name,
            "device": device,
            "parameters": f"{parameters / 1e9:.2f}e9",
            **row,
            "speed-up": exact / row["denoising s"],
            f"{BATCH} alone / batch": batch,
        }
        for row in found
    ]


def _quality_row(bench: Bench, quality: str, fields: Mapping[str, Any], repeats: int) -> Row:
    _, warm = bench.make(quality, **fields)
    times = [bench.make(quality, **fields)[1].timings["denoising"] for _ in range(repeats)]
    times = times or [warm.timings["denoising"]]
    used = {name: value for name, value in warm.applied["speed"].items() if name != "quality"}
    return {
        "quality": quality,
        "uses": ", ".join(f"{name} {value}" for name, value in used.items()) or "nothing",
        "compiling s": warm.timings.get("compiling", 0.0),
        "denoising s": statistics.median(times),
    }


def _batch(pipeline: Any, arguments: Mapping[str, int]) -> float:
    """Return how much longer four videos take one by one than as one batch, by plain diffusers."""
    import torch

    def seconds(count: int) -> float:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(count)]
        began = time.perf_counter()
        pipeline(
            prompt=["a red circle"] * count,
            generator=generators,
            output_type="latent",
            **arguments,
        )
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - began

    pipeline.set_progress_bar_config(disable=True)
    seconds(1)
    seconds(BATCH)
    return sum(seconds(1) for _ in range(BATCH)) / seconds(BATCH)


def large_wan() -> Any:
    """Return Wan 2.1 1.3B with its own shapes, but for a text encoder that is one layer deep."""
    import diffusers
    import torch

    from tests.tiny_pipelines.parts import flow, t5_tokenizer

    with _half():
        transformer = diffusers.WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)
        autoencoder = diffusers.AutoencoderKLWan().to(torch.float32)
        return diffusers.WanPipeline(
            tokenizer=t5_tokenizer(),
            text_encoder=_umt5(),
            vae=autoencoder,
            scheduler=flow(shift=3.0),
            transformer=transformer,
        )


def large_ltx() -> Any:
    """Return LTX-Video 2B with its own shapes, but for a text encoder that is one layer deep."""
    import diffusers

    from tests.tiny_pipelines.parts import flow, t5, t5_tokenizer

    with _half():
        return diffusers.LTXPipeline(
            scheduler=flow(),
            vae=diffusers.AutoencoderKLLTXVideo(),
            text_encoder=t5(width=TEXT_WIDTH),
            tokenizer=t5_tokenizer(),
            transformer=diffusers.LTXVideoTransformer3DModel(),
        )


def _umt5() -> Any:
    import transformers

    config = transformers.UMT5Config(
        vocab_size=128, d_model=TEXT_WIDTH, d_kv=8, d_ff=37, num_layers=1, num_heads=4, decoder_start_token_id=0
    )
    return transformers.UMT5EncoderModel(config)


class _half:  # noqa: N801  (a context manager)
    """Makes new weights in bfloat16, as they are kept."""

    def __enter__(self) -> None:
        import torch

        self._before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_default_dtype(self._before)
