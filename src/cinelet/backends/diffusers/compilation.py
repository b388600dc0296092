"""Regional compilation: the blocks that a network repeats are compiled once, and used or left aside run by run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cinelet.backends.diffusers.denoiser import denoisers

_KEPT = "_cinelet_compiled"
"""Under this name a block keeps its compiled form, which so goes when the block goes."""
MAX_FORMS = 64
"""Of the same code, for models and shapes that differ; PyTorch would give up after 8, without a word."""


@dataclass(slots=True)
class CompileLog:
    """What one run had of it. seconds: that compiling took; failure: the first line of why it was given up."""

    seconds: float = 0.0
    failure: str | None = None


class CompiledBlock:
    """Stands in for a block's `forward`: the compiled form, or the plain one where that cannot be made.

    log: of the run that it is used in. failure: why it could not be compiled, which is not tried again.
    """

    def __init__(self, block: Any, options: dict[str, Any]) -> None:
        import torch

        self.log = CompileLog()
        self.failure: str | None = None
        self._plain = block.forward
        self._compiled = torch.compile(block.forward, **options)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the block; the time of a call in which something was compiled is kept."""
        from torch._dynamo.exc import TorchDynamoException

        if self.log.failure is not None:
            return self._plain(*arguments, **named)
        graphs, began = _graphs(), time.monotonic()
        try:
            output = self._compiled(*arguments, **named)
        except TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            self.failure = f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]:.200}"
            self.log.failure = self.failure
            output = self._plain(*arguments, **named)
        if _graphs() != graphs or self.log.failure is not None:
            self.log.seconds += time.monotonic() - began
        return output


def why_not(pipeline: Any) -> str | None:
    """Return what keeps a pipeline's blocks from being compiled, or None."""
    blocks = _blocks(pipeline)
    if not blocks:
        return "diffusers names no blocks of this model's network that could be compiled"
    if any("forward" in vars(module) for block in blocks for module in block.modules()):
        return "the model's blocks are moved to the device one by one"
    return None


@contextmanager
def compiled(pipeline: Any, log: CompileLog, **options: Any) -> Iterator[None]:
    """Have the repeated blocks run compiled until the end of the block. options: of `torch.compile`."""
    from torch._dynamo import config

    blocks = _blocks(pipeline)
    try:
        for block in blocks:
            # Not `compile_repeated_blocks`: a step cache would be compiled with the block, and anew for each run.
            kept = vars(block).get(_KEPT)
            if kept is None:
                kept = CompiledBlock(block, options)
                vars(block)[_KEPT] = kept
            kept.log = log
            log.failure = log.failure or kept.failure
            block.forward = kept
        with config.patch(recompile_limit=MAX_FORMS):
            yield
    finally:
        for block in blocks:
            vars(block).pop("forward", None)


def _blocks(pipeline: Any) -> list[Any]:
    return [
        module
        for network in denoisers(pipeline).values()
        for module in network.modules()
        if type(module).__name__ in (getattr(network, "_repeated_blocks", None) or ())
    ]


def _graphs() -> int:
    """Return how many pieces of code have been compiled in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"].get("unique_graphs", 0))
