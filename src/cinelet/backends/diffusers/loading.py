"""Loads pipelines and keeps the last ones used."""

from __future__ import annotations

import gc
import inspect
from collections import OrderedDict
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from cinelet.backends.diffusers.arguments import find_class
from cinelet.backends.diffusers.memory import bytes_of, device_now
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.domain.condition import Condition, Device, LoadedModel
from cinelet.domain.errors import CapacityError, ModelUnsupportedError, ProcessingError

_VOCABULARIES = frozenset({"tokenizer.json", "vocab.json", "vocab.txt"})
_WITHOUT_VOCABULARY = ("ByT5",)
"""Tokenizers of bytes."""


def choose_device(wanted: str | None) -> str:
    """Return `wanted`, or the fastest device that there is: cuda, mps or cpu."""
    import torch

    if wanted:
        try:
            torch.empty(0, device=wanted)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            message = f"The device {wanted!r} cannot be used here; set CINELET_DEVICE to cuda, cuda:1, mps or cpu"
            raise ProcessingError(message, "loading") from error
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_without_torch(wanted: str | None) -> str | None:
    """Return the device where it is known without loading PyTorch: its build for processors has no other."""
    return "cpu" if wanted in {None, "cpu"} and version("torch").endswith("+cpu") else None


def choose_dtype(device: str) -> Any:
    """Return the precision for a device: bfloat16 or float16 on an accelerator, float32 on a processor."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.startswith("mps") else torch.float32


class PipelineCache:
    """The last `size` pipelines used, by folder. Not for several threads at once, but for `condition`."""

    def __init__(self, *, device: str | None, size: int) -> None:
        self._wanted_device = device
        self._size = size
        self._pipelines: OrderedDict[str, Any] = OrderedDict()
        self._device: str | None = None
        """The one that was chosen, when torch had been loaded."""
        self._loaded: dict[str, LoadedModel] = {}
        """What is told of the pipelines; replaced and never changed, as other threads read it."""

    def get(self, folder: ModelFolder) -> Any:
        """Return the pipeline of a folder, loaded if need be. Raises `ModelUnsupportedError` or `CapacityError`."""
        key = f"{folder.path.resolve()}@{(folder.path / 'model_index.json').stat().st_mtime_ns}"
        if key in self._pipelines:
            self._pipelines.move_to_end(key)
            return self._pipelines[key]
        while len(self._pipelines) >= self._size:
            oldest, _ = self._pipelines.popitem(last=False)
            self._loaded = {name: model for name, model in self._loaded.items() if name != oldest}
            self._release()
        pipeline = self._load(folder)
        self._pipelines[key] = pipeline
        self._loaded = {**self._loaded, key: _told(folder, pipeline, device=str(self._device))}
        return pipeline

    def clear(self) -> None:
        """Forget all pipelines and give their memory back."""
        self._pipelines.clear()
        self._loaded = {}
        self._release()

    def condition(self) -> Condition:
        """Return what is loaded, and the device with its memory; from any thread."""
        if self._device is None:
            return Condition(Device(self._wanted_device))
        return Condition(device_now(self._device), tuple(self._loaded.values()))

    def _load(self, folder: ModelFolder) -> Any:
        import torch

        self._device = device = choose_device(self._wanted_device)
        _check_complete(folder)
        size_bytes = folder.weight_bytes  # reads the headers, and so refuses a broken file by its name
        cls: Any = find_class(folder.class_name, folder.reference)
        settings = {"dtype": choose_dtype(device), "use_safetensors": True, "local_files_only": True}
        try:
            encoders = dict(_encoders(folder, settings))
            pipeline = cls.from_pretrained(folder.path, variant=folder.variant, **settings, **encoders).to(device)
        except ModelUnsupportedError:
            raise
        except torch.OutOfMemoryError as error:
            self._release()
            message = f"{folder.reference} does not fit into the memory of {device} ({size_bytes:,} bytes)"
            raise CapacityError(f"{message}; use a smaller model or another device") from error
        except NotImplementedError as error:  # diffusers leaves such a tensor without content, which cannot be moved
            message = f"{folder.reference}: the weights are not complete, a tensor is missing"
            raise ModelUnsupportedError(f"{message}; download the model again", folder.reference) from error
        except Exception as error:  # whatever a library raises about the files, the caller hears one line of it
            self._release()
            first_line = (str(error).splitlines() or [""])[0]
            message = f"{folder.reference} does not load: {type(error).__name__}: {first_line:.300}"
            raise ModelUnsupportedError(
                f"{message}; download it again or use another model", folder.reference
            ) from error
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


def _told(folder: ModelFolder, pipeline: Any, *, device: str) -> LoadedModel:
    """Return what others are told of a pipeline."""
    return LoadedModel(folder.reference, device, revision=folder.revision, bytes=bytes_of(pipeline))


def _check_complete(folder: ModelFolder) -> None:
    """Refuse a folder that lacks a component or a vocabulary: transformers would make up an empty one."""
    for name, (_, class_name) in folder.components.items():
        files = [file.name for file in (folder.path / name).glob("*")]
        has_vocabulary = any(file in _VOCABULARIES or file.endswith(".model") for file in files)
        needs_one = "Tokenizer" in class_name and not class_name.startswith(_WITHOUT_VOCABULARY)
        if not files or (needs_one and not has_vocabulary):
            what = "its vocabulary is missing" if files else "it is missing"
            message = f"{folder.reference}: the component {name} is not complete, {what}"
            raise ModelUnsupportedError(f"{message}; download the model again", folder.reference)


def _encoders(folder: ModelFolder, settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Load what transformers loads. Unlike diffusers' models, its ones fill in missing tensors with random numbers."""
    import transformers

    for name, (library, class_name) in folder.components.items():
        cls: Any = getattr(transformers, class_name, None) if library == "transformers" else None
        is_model = inspect.isclass(cls) and issubclass(cls, transformers.PreTrainedModel)
        if not is_model:
            continue
        has_variant = folder.variant is not None and any((folder.path / name).glob(f"*.{folder.variant}*.safetensors"))
        variant = {"variant": folder.variant} if has_variant else {}
        model, report = cls.from_pretrained(folder.path / name, output_loading_info=True, **settings, **variant)
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            message = f"{folder.reference}: the weights of {name} are not complete ({len(missing)} tensors are missing"
            raise ModelUnsupportedError(f"{message}, {missing[0]:.80} is one); download it again", folder.reference)
        yield name, model


def _mend(pipeline: Any) -> None:
    """Bridge what the pipeline expects and the installed transformers no longer has."""
    if type(pipeline).__name__ == "I2VGenXLPipeline" and not hasattr(pipeline.text_encoder, "text_model"):
        # transformers 5 made CLIPTextModel its own text model. Not an attribute: a module must not contain itself.
        pipeline.text_encoder.__dict__["text_model"] = pipeline.text_encoder
