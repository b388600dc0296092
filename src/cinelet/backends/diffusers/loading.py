"""Loads pipelines and keeps the last ones used."""

from __future__ import annotations

import gc
from collections import OrderedDict
from typing import Any

from cinelet.backends.diffusers.arguments import find_class
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.domain.errors import CapacityError, ModelUnsupportedError, ProcessingError


def choose_device(wanted: str | None) -> str:
    """Return `wanted`, or the fastest device that there is: cuda, mps or cpu."""
    import torch

    if wanted:
        try:
            return str(torch.device(wanted))
        except RuntimeError as error:
            message = f"{wanted!r} is no device that torch knows; use cuda, cuda:0, mps or cpu"
            raise ProcessingError(message, "loading") from error
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(device: str) -> Any:
    """Return the precision for a device: bfloat16 or float16 on an accelerator, float32 on a processor."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.startswith("mps") else torch.float32


class PipelineCache:
    """The last `size` pipelines used, by folder. Not for several threads at once."""

    def __init__(self, *, device: str | None, size: int) -> None:
        self._wanted_device = device
        self._size = size
        self._pipelines: OrderedDict[str, Any] = OrderedDict()

    def get(self, folder: ModelFolder) -> Any:
        """Return the pipeline of a folder, loaded if need be. Raises `ModelUnsupportedError` or `CapacityError`."""
        key = f"{folder.path.resolve()}@{(folder.path / 'model_index.json').stat().st_mtime_ns}"
        if key in self._pipelines:
            self._pipelines.move_to_end(key)
            return self._pipelines[key]
        while len(self._pipelines) >= self._size:
            self._pipelines.popitem(last=False)
        self._release()
        pipeline = self._load(folder)
        self._pipelines[key] = pipeline
        return pipeline

    def clear(self) -> None:
        """Forget all pipelines and give their memory back."""
        self._pipelines.clear()
        self._release()

    def _load(self, folder: ModelFolder) -> Any:
        import torch

        device = choose_device(self._wanted_device)
        cls: Any = find_class(folder.class_name, folder.reference)
        try:
            pipeline = cls.from_pretrained(
                folder.path,
                dtype=choose_dtype(device),
                use_safetensors=True,
                variant=folder.variant,
                local_files_only=True,
            ).to(device)
        except torch.OutOfMemoryError as error:
            message = f"{folder.reference} does not fit into the memory of {device} ({folder.weight_bytes:,} bytes)"
            raise CapacityError(f"{message}; use a smaller model or another device") from error
        except (OSError, ValueError, TypeError, RuntimeError, KeyError, AttributeError, ImportError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            message = f"{folder.reference} does not load: {type(error).__name__}: {first_line:.300}"
            raise ModelUnsupportedError(
                f"{message}; download it again or use another model", folder.reference
            ) from error
        finally:
            self._release()
        for module in pipeline.components.values():
            if isinstance(module, torch.nn.Module):
                module.eval()
        _mend(pipeline)
        return pipeline

    def _release(self) -> None:
        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _mend(pipeline: Any) -> None:
    """Bridge what the pipeline expects and the installed transformers no longer has."""
    if type(pipeline).__name__ == "I2VGenXLPipeline" and not hasattr(pipeline.text_encoder, "text_model"):
        # transformers 5 made CLIPTextModel its own text model. Not an attribute: a module must not contain itself.
        pipeline.text_encoder.__dict__["text_model"] = pipeline.text_encoder
