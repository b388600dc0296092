"""Networks whose sequences several processes share: each computes a part of the tokens, and all of them the attention.

What diffusers' `ContextParallelConfig` does, put on by ourselves: its `enable_parallelism` divides by the number of
GPUs, keeps the network as it is for ever, and shares the attention to the prompt, whose masks are then of another size
than what they mask. Here the prompt is whole in every process, and a network is as before when the block ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cinelet.backends.diffusers.denoiser import denoisers
from cinelet.backends.diffusers.quantization import is_quantized

NETWORKS = frozenset({"ChronoEditTransformer3DModel", "LTXVideoTransformer3DModel", "WanTransformer3DModel"})
"""Those that tests compare with themselves in one process."""
_OF_PROMPT = "encoder_"
"""How inputs begin that are the prompt's."""
_READS_PROMPT = "attn2"
_SHARED = "_parallel_config"
"""Where attention looks whether it is shared."""


def why_not(pipeline: Any, *, ranks: int) -> str | None:
    """Return what keeps a pipeline's networks from being shared by so many processes, or None."""
    networks = denoisers(pipeline)
    names = sorted({type(network).__name__ for network in networks.values()})
    if not networks or not NETWORKS.issuperset(names):
        return f"{', '.join(names) or 'its network'} cannot be shared; those that can are {', '.join(sorted(NETWORKS))}"
    heads = min(int(network.config.num_attention_heads) for network in networks.values())
    if heads < ranks:
        return f"its attention has {heads} heads, and each device needs one"
    if is_quantized(pipeline) or any(
        getattr(network, "peft_config", None) or _is_moved(network) for network in networks.values()
    ):
        return "its weights do not lie as they are on the device"
    return None


def make_config(ranks: int, rank: int, device: str) -> Any:
    """Return what is shared how, among the processes of the group that torch knows."""
    import torch
    from diffusers.models._modeling_parallel import ContextParallelConfig, ParallelConfig
    from torch.distributed.device_mesh import init_device_mesh

    # Any number of tokens, and of heads, whatever it divides by; where both divide evenly, `shared` sets it to False.
    context = ContextParallelConfig(ulysses_degree=ranks, ulysses_anything=True)
    mesh = init_device_mesh(torch.device(device).type, (1, ranks), mesh_dim_names=context.mesh_dim_names)
    config = ParallelConfig(context_parallel_config=context)
    config.setup(rank, ranks, torch.device(device), mesh=mesh)
    return config


@contextmanager
def shared(network: Any, config: Any) -> Iterator[None]:
    """Have a network compute its part only, until the end of the block: all processes must call it, in one order."""
    from diffusers.hooks.context_parallel import apply_context_parallel, remove_context_parallel

    plan = _plan(network)
    plain = [module for module in network.modules() if "forward" not in vars(module)]
    processors = [
        module.processor
        for path, module in network.named_modules()
        if hasattr(getattr(module, "processor", None), _SHARED) and not path.endswith(_READS_PROMPT)
    ]
    asked = network.register_forward_pre_hook(_dividing(config.context_parallel_config), with_kwargs=True)
    try:
        for processor in processors:
            setattr(processor, _SHARED, config)
        apply_context_parallel(network, config.context_parallel_config, plan)
        yield
    finally:
        asked.remove()
        remove_context_parallel(network, plan)
        for module in plain:
            vars(module).pop("forward", None)  # the class's own, which the hooks leave there
        for processor in processors:
            setattr(processor, _SHARED, None)


def _dividing(context: Any) -> Callable[..., None]:
    """Return what chooses before each call of a network how it is shared: diffusers looks at `context` in the call.

    Where heads and tokens divide evenly, the parts are as large in all processes. Otherwise these tell each other how
    large theirs are, several times in each attention, and a GPU is waited for each time. All choose alike: they have
    the same network and are given the same arguments.
    """

    def choose(network: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        states = options["hidden_states"] if "hidden_states" in options else arguments[0]
        heads = int(network.config.num_attention_heads)
        ranks = context.ulysses_degree
        context.ulysses_anything = bool(heads % ranks or _tokens(network, states) % ranks)

    return choose


def _tokens(network: Any, states: Any) -> int:
    """Return how many tokens a network computes of latents: [batch, tokens, ...] or [batch, channels, time, y, x]."""
    if states.ndim == 3:
        return int(states.shape[1])
    return math.prod(size // part for size, part in zip(states.shape[2:], network.config.patch_size, strict=True))


def _plan(network: Any) -> dict[str, Any]:
    """Return what diffusers knows of the network, without what is the prompt's."""
    plan = {}
    for module, change in network._cp_plan.items():  # noqa: SLF001  (it has no other name)
        if isinstance(change, Mapping):
            kept = {name: how for name, how in change.items() if not str(name).startswith(_OF_PROMPT)}
            if kept:
                plan[module] = kept
        else:
            plan[module] = change
    return plan


def _is_moved(network: Any) -> bool:
    """Tell whether something brings weights to the device part by part, or has them in few bits."""
    hooks = getattr(network, "_diffusers_hook", None)
    offloaded = hasattr(network, "_hf_hook") or any("offload" in name for name in getattr(hooks, "hooks", {}))
    return offloaded or any(type(one).__name__ != "Parameter" for one in network.parameters())
