"""Step caches: a step takes from an earlier one what has hardly changed. Put on for one run, and taken off after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from cinelet.backends.diffusers.denoiser import calls_twice, denoisers, tells_steps
from cinelet.backends.diffusers.guidance_cache import GuidanceCache, guidance_cached
from cinelet.backends.diffusers.layer_offload import FOLLOWED, is_followed

FIRST_BLOCK_THRESHOLD = 0.1
"""How far the first block's output may have moved, relative, for the others' to be kept."""
SEER_PERIOD = 3
"""Of the later steps, TaylorSeer computes one in so many."""
SEER_FIRST_SHARE = 0.25
"""Of the steps, at the beginning, that are always computed."""
_FASTERCACHE_LAYOUTS = {"CogVideoXTransformer3DModel": "BFCHW", "MochiTransformer3DModel": "BCFHW"}
"""Networks that FasterCache was seen to work with, and the order of the dimensions that they return."""
_BLOCKS = ("blocks", "transformer_blocks")


@dataclass(frozen=True, slots=True)
class Run:
    """What a cache must know of the run that it is for. videos: made at once."""

    pipeline: Any
    steps: int
    guided: bool
    videos: int = 1


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of a cache in a run."""

    guidance: list[GuidanceCache] = field(default_factory=list)

    @property
    def had_effect(self) -> bool:
        """Whether a step took something from another, where that shows only in the run."""
        return not self.guidance or any(cache.skipped for cache in self.guidance)


class _UnsuitableError(Exception):
    """Why a model cannot have a cache."""


def why_none(pipeline: Any) -> str | None:
    """Return what keeps a pipeline from having any cache in its next run, though perhaps not in later ones, or None."""
    return FOLLOWED if any(map(is_followed, denoisers(pipeline).values())) else None


def best_cache(run: Run) -> str | None:
    """Return the cache that fits a pipeline best, or None where none does."""
    # Of those measured (docs/decisions), TaylorSeer kept the pictures best at the same speed.
    for name in ("taylorseer", "guidance"):
        if why_not(name, run) is None:
            return name
    return None


def why_not(name: str, run: Run) -> str | None:
    """Return what keeps a pipeline from having a cache, or None."""
    try:
        _check(name, run)
    except _UnsuitableError as reason:
        return str(reason)
    return None


@contextmanager
def step_cached(name: str, run: Run) -> Iterator[Effect]:
    """Have the pipeline's networks use a cache until the end of the block; whatever happens, nothing of it is left."""
    effect = Effect()
    with ExitStack() as stack:
        for network in denoisers(run.pipeline).values():
            if name == "guidance":
                cache = stack.enter_context(guidance_cached(network, videos=run.videos, steps=run.steps))
                effect.guidance.append(cache)
            else:
                stack.enter_context(_enabled(network, _config(name, run, network)))
        yield effect


@contextmanager
def _enabled(network: Any, config: Any) -> Iterator[None]:
    network.enable_cache(config)
    try:
        yield
    finally:
        network.disable_cache()
        for module in network.modules():
            # Where it was replaced, diffusers leaves the class's own as an attribute.
            if getattr(vars(module).get("forward"), "__func__", None) is type(module).forward:
                del module.forward


def _check(name: str, run: Run) -> None:
    from diffusers.models.cache_utils import CacheMixin

    networks = denoisers(run.pipeline)
    if not networks:
        raise _UnsuitableError("the model has no network of the kind that is cached")
    if name == "guidance":
        _check_guidance(run)
        return
    if not all(isinstance(network, CacheMixin) for network in networks.values()):
        raise _UnsuitableError("the model's network has no such cache in diffusers")
    if not tells_steps(run.pipeline):
        raise _UnsuitableError("the pipeline does not tell diffusers' caches which step is running")
    for network in networks.values():
        _CHECKS[name](network, run)


def _check_guidance(run: Run) -> None:
    if not run.guided:
        raise _UnsuitableError("the video is made without guidance")
    if calls_twice(run.pipeline, guided=run.guided):
        raise _UnsuitableError("the pipeline computes guidance by two calls, rather than in one batch")


def _check_blocks(network: Any, _: Run) -> None:
    from diffusers.hooks._helpers import TransformerBlockRegistry

    blocks = [block for name in _all_blocks() for block in getattr(network, name, None) or ()]
    if len(blocks) < 2:
        raise _UnsuitableError("the model's network has less than two blocks")
    for block in blocks:
        try:
            TransformerBlockRegistry.get(type(block))
        except ValueError as error:
            raise _UnsuitableError(
                "diffusers does not know how the blocks of the model's network are cached"
            ) from error


def _all_blocks() -> tuple[str, ...]:
    from diffusers.hooks._common import _ALL_TRANSFORMER_BLOCK_IDENTIFIERS

    return tuple(_ALL_TRANSFORMER_BLOCK_IDENTIFIERS)


def _check_seer(network: Any, _: Run) -> None:
    if not hasattr(network, "proj_out") or not any(hasattr(network, name) for name in _BLOCKS):
        raise _UnsuitableError("the model's network has no last projection after its blocks")


def _check_broadcast(_: Any, run: Run) -> None:
    if calls_twice(run.pipeline, guided=run.guided):
        raise _UnsuitableError("guidance is computed by two calls, which this cache would mix up")
    if not hasattr(type(run.pipeline), "current_timestep"):
        raise _UnsuitableError("the pipeline does not tell which step is running")


def _check_faster(network: Any, run: Run) -> None:
    _check_broadcast(network, run)
    if type(network).__name__ not in _FASTERCACHE_LAYOUTS:
        raise _UnsuitableError("the model's network returns its output in a form that this cache does not know")


_CHECKS = {
    "first-block": _check_blocks,
    "taylorseer": _check_seer,
    "pab": _check_broadcast,
    "fastercache": _check_faster,
}


def _config(name: str, run: Run, network: Any) -> Any:
    import diffusers
    import torch

    match name:
        case "first-block":
            return diffusers.FirstBlockCacheConfig(threshold=FIRST_BLOCK_THRESHOLD)
        case "taylorseer":
            return diffusers.TaylorSeerCacheConfig(
                cache_interval=SEER_PERIOD,
                disable_cache_before_step=max(2, round(run.steps * SEER_FIRST_SHARE)),
                disable_cache_after_step=run.steps - 1,
                max_order=1,
                # In this form only the last output is kept, which is small.
                taylor_factors_dtype=torch.float32,
                # The plain form looks for attention by names that the video models do not have.
                use_lite_mode=True,
            )
        case "pab":
            return diffusers.PyramidAttentionBroadcastConfig(
                spatial_attention_block_skip_range=2,
                cross_attention_block_skip_range=2,
                current_timestep_callback=_clock(run.pipeline),
            )
        case _:
            return diffusers.FasterCacheConfig(
                tensor_format=_FASTERCACHE_LAYOUTS[type(network).__name__],
                is_guidance_distilled=not run.guided,
                attention_weight_callback=lambda _: 0.3,
                current_timestep_callback=_clock(run.pipeline),
            )


def _clock(pipeline: Any) -> Callable[[], int]:
    """Return what tells the timestep that is running. Each attention asks, and the device is waited for once a step."""
    step, number = None, 0

    def now() -> int:
        nonlocal step, number
        if pipeline.current_timestep is not step:
            step = pipeline.current_timestep
            number = 0 if step is None else int(step)
        return number

    return now
