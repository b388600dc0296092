"""LoRAs in a loaded pipeline: put there, weighed for one run, and silent for every other."""

from __future__ import annotations

import itertools
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from cinelet.backends.diffusers.devices import is_out_of_memory
from cinelet.backends.diffusers.lora_file import LoraFile
from cinelet.backends.diffusers.lora_source import ChosenLora
from cinelet.domain.errors import CapacityError, ValidationError
from cinelet.domain.lora import MAX_LORAS
from cinelet.domain.result import Adjustment

KEPT = MAX_LORAS
"""LoRAs that stay in a pipeline, so that the next request need not load them: what one request can ask for."""
_SECOND = "transformer_2"
"""The part of a mixture of two that draws the details, from the noise that is low."""


@dataclass(slots=True)
class _Kept:
    """The LoRAs of one pipeline, the last used last. unused: adapter name -> layers that fit nothing."""

    number: int
    unused: OrderedDict[str, int] = field(default_factory=OrderedDict)


class LoraShelf:
    """The LoRAs that are in pipelines, by their content; for one thread at a time."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Any, _Kept] = WeakKeyDictionary()
        self._numbers = itertools.count()

    @contextmanager
    def applied(self, pipeline: Any, chosen: Sequence[ChosenLora]) -> Iterator[list[Adjustment]]:
        """Let the LoRAs count within the context; afterwards the pipeline draws as if they were not there.

        Yields what is to be told of them. Raises `ValidationError` for one that does not fit the model, which then has
        nothing of it, and `CapacityError` where memory is out.
        """
        if not chosen:
            yield []
            return
        adjustments: list[Adjustment] = []
        scales: dict[str, float] = {}
        try:
            for lora, file in chosen:
                adapter, unused = self._put(pipeline, file)
                # The same content twice is the sum of both.
                scales[adapter] = scales.get(adapter, 0.0) + lora.scale
                if unused:
                    reason = f"{unused} layers of it are none of the model's, and do not count"
                    adjustments.append(Adjustment("lora", lora.path, lora.path, reason))
            for part in _parts(pipeline):
                there = [name for name in scales if name in getattr(part, "peft_config", {})]
                if there:
                    _weigh(part, {name: scales[name] for name in there})
                else:
                    _silence(part)
            yield adjustments
        finally:
            for part in _parts(pipeline):
                _silence(part)
            self._forget_old(pipeline)

    def _put(self, pipeline: Any, file: LoraFile) -> tuple[str, int]:
        """Load a LoRA that is not there, and make it the last used.

        Returns its name in the pipeline, and how many of its layers fit nothing.
        """
        kept = self._kept.setdefault(pipeline, _Kept(next(self._numbers)))
        # Another pipeline may share a part with this one, and has its own copy there.
        adapter = f"{file.adapter}_{kept.number}"
        if adapter in kept.unused:
            kept.unused.move_to_end(adapter)
            return adapter, kept.unused[adapter]
        try:
            unused = _load(pipeline, file, adapter)
        except Exception as error:  # whatever a library raises about the file, the caller hears one line of it
            # Its frames hold the tensors of the file.
            error.__traceback__ = None
            _forget(pipeline, adapter)
            if is_out_of_memory(error):
                message = f"The device's memory is full: the LoRA {file.name!r:.120} has {file.tensor_bytes:,} bytes"
                raise CapacityError(f"{message}; use a smaller one, or fewer") from error
            why = " ".join(str(error).split()) or type(error).__name__
            message = f"The LoRA {file.name!r:.120} does not fit this model ({type(pipeline).__name__}): {why:.200}"
            raise ValidationError(f"{message}; use one made for it", {"lora": "Does not fit the model"}) from error
        kept.unused[adapter] = unused
        return adapter, unused

    def _forget_old(self, pipeline: Any) -> None:
        kept = self._kept.get(pipeline)
        while kept is not None and len(kept.unused) > KEPT:
            adapter, _ = kept.unused.popitem(last=False)
            _forget(pipeline, adapter)


def _forget(pipeline: Any, adapter: str) -> None:
    """Take a LoRA out of a pipeline, and with the last one of a part all that LoRAs need there."""
    from diffusers.utils import recurse_remove_peft_layers

    for part in _parts(pipeline):
        for layer in _tuned(part):
            layer.delete_adapter(adapter)
        configurations = getattr(part, "peft_config", {})
        configurations.pop(adapter, None)
        if configurations:
            continue
        if hasattr(part, "unload_lora"):
            part.unload_lora()
        else:
            recurse_remove_peft_layers(part)
            part.__dict__.pop("peft_config", None)
            part._hf_peft_config_loaded = False  # noqa: SLF001  (as diffusers leaves a text encoder)


def _parts(pipeline: Any) -> list[Any]:
    """Return the modules that LoRAs may be in."""
    parts = (getattr(pipeline, name, None) for name in pipeline._lora_loadable_modules)  # noqa: SLF001  (a list of names)
    return [part for part in parts if part is not None]


def _load(pipeline: Any, file: LoraFile, adapter: str) -> int:
    """Put a LoRA into the parts that it has weights for, or raise whatever; return the layers that fit nothing."""
    from safetensors.torch import load_file

    tensors = load_file(file.path)
    wanted: set[str] = set()
    own = type(pipeline).lora_state_dict

    def converted(*arguments: Any, **options: Any) -> Any:
        """Stand in for the method that reads a LoRA: with tensors it does not say how strongly they count."""
        answer = own(*arguments, **options)
        weights = answer[0] if isinstance(answer, tuple) else answer
        wanted.update(_layers(weights))
        if not isinstance(answer, tuple) or answer[-1] or any(answer[1:]):
            return answer
        return (*answer[:-1], _told(file, weights))

    targets = _targets(pipeline, file)
    pipeline.lora_state_dict = converted
    try:
        for options in targets:
            pipeline.load_lora_weights(tensors, adapter_name=adapter, **options)
    finally:
        del pipeline.lora_state_dict
    parameters = [parameter for part in _parts(pipeline) for parameter in _parameters(part, adapter)]
    if not parameters:
        raise ValueError("none of its layers is one of the model's")
    if any(parameter.is_meta for _, parameter in parameters):
        raise ValueError("weights of some layers are missing")
    return max(0, len(wanted) * len(targets) - len({layer for layer, _ in parameters}))


def _targets(pipeline: Any, file: LoraFile) -> list[dict[str, Any]]:
    """Return the options of each loading. A mixture of two is loaded twice, unless the file's name says which is meant.

    Such LoRAs come as one file for both, or as one for each, with the noise that it is for in its name.
    """
    if getattr(pipeline, _SECOND, None) is None:
        return [{}]
    second = {"load_into_transformer_2": True}
    if file.noise == "low":
        return [second]
    return [{}] if file.noise == "high" else [{}, second]


def _layers(weights: Mapping[str, Any]) -> set[str]:
    """Return the layers that a converted LoRA has weights for."""
    return {re.split(r"\.(?:lora|lokr_)", name)[0] for name in weights if ".lora" in name or ".lokr_" in name}


def _told(file: LoraFile, weights: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings of a file as diffusers wants them, if they tell of every part that it has weights for."""
    if file.settings is None:
        return None
    layers: dict[str, list[str]] = {}
    for layer in sorted(_layers(weights)):
        part, _, module = layer.partition(".")
        layers.setdefault(part, []).append(module)
    if any(f"{part}.r" not in file.settings for part in layers):
        return None
    return {**file.settings, **{f"{part}.target_modules": modules for part, modules in layers.items()}}


def _parameters(part: Any, adapter: str) -> Iterator[tuple[str, Any]]:
    """Give (layer, parameter) of an adapter in a part."""
    for name, parameter in part.named_parameters():
        layer, found, _ = name.partition(f".{adapter}.")
        if found:
            yield f"{id(part)}.{layer.rpartition('.')[0]}", parameter


def _weigh(part: Any, scales: Mapping[str, float]) -> None:
    """Let some of a part's LoRAs count, and no other."""
    for layer in _tuned(part):
        layer.enable_adapters(enabled=True)
        layer.set_adapter(list(scales), inference_mode=True)
        for name, scale in scales.items():
            layer.set_scale(name, scale)


def _silence(part: Any) -> None:
    """Let none of a part's LoRAs count."""
    for layer in _tuned(part):
        layer.enable_adapters(enabled=False)


def _tuned(part: Any) -> list[Any]:
    """Return the layers of a part that have LoRAs."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in part.modules() if isinstance(module, BaseTunerLayer)]
