"""Loads a pipeline from its checked folder, whole or not at all."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from cinelet.backends.diffusers.arguments import find_class
from cinelet.backends.diffusers.component_classes import check_classes
from cinelet.backends.diffusers.devices import is_out_of_memory
from cinelet.backends.diffusers.layer_offload import give_back
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.backends.diffusers.placement import Placement, place
from cinelet.backends.diffusers.precision import Precision
from cinelet.backends.diffusers.quantization import gguf_networks, loading_options
from cinelet.backends.diffusers.text_reader import READ_TEXT, text_readers
from cinelet.domain.errors import CapacityError, CineletError, ModelUnsupportedError

_VOCABULARIES = frozenset({"tokenizer.json", "vocab.json", "vocab.txt"})
_WITHOUT_VOCABULARY = ("ByT5",)
"""Tokenizers of bytes."""


def load(
    folder: ModelFolder, *, device: str, precision: Precision, placement: Placement, shared: Mapping[str, Any]
) -> Any:
    """Return the pipeline of a folder, placed and ready to run. shared: components that are loaded already.

    Raises `ModelUnsupportedError` and `CapacityError`; of what was loaded until then nothing is left.
    """
    try:
        return _load(folder, device=device, precision=precision, placement=placement, shared=shared)
    except CineletError:
        give_back()
        raise
    except NotImplementedError as error:  # diffusers leaves such a tensor without content, which cannot be moved
        give_back()
        message = f"{folder.reference}: the weights are not complete, a tensor is missing"
        raise ModelUnsupportedError(f"{message}; download the model again", folder.reference) from error
    except Exception as error:  # whatever a library raises about the files, the caller hears one line of it
        out_of_memory = is_out_of_memory(error)
        first_line = (str(error).splitlines() or [""])[0]
        # Its frames hold what was loaded.
        error.__traceback__ = None
        give_back()
        if out_of_memory:
            message = f"{folder.reference} does not fit into the memory of {device}"
            raise CapacityError(f"{message}; use a smaller model or another device") from error
        message = f"{folder.reference} does not load: {type(error).__name__}: {first_line:.300}"
        raise ModelUnsupportedError(f"{message}; download it again or use another model", folder.reference) from error


def _load(
    folder: ModelFolder, *, device: str, precision: Precision, placement: Placement, shared: Mapping[str, Any]
) -> Any:
    import torch

    check_classes(folder)
    _check_complete(folder)
    cls: Any = find_class(folder.class_name, folder.reference)
    settings = {"use_safetensors": True, "local_files_only": True}
    encoders = dict(_encoders(folder, settings, precision=precision, besides=shared))
    networks = dict(gguf_networks(folder, precision.of("")))
    dtypes = {"default": precision.of(""), **{name: precision.of(name) for name in precision.exact}}
    readers = text_readers(folder)
    pipeline = cls.from_pretrained(
        folder.path,
        variant=folder.variant,
        dtype=dtypes if precision.exact else precision.of(""),
        **settings,
        **loading_options(folder, device=device),
        **{**encoders, **dict.fromkeys(readers), **networks, **shared},
    )
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval()
    place(pipeline, placement, device=device)
    _mend(pipeline, device)
    for name, reader in readers.items():
        setattr(pipeline, name, reader)
    return pipeline


def _check_complete(folder: ModelFolder) -> None:
    """Refuse a folder that lacks a component or a vocabulary: transformers would make up an empty one."""
    for name, (_, class_name) in folder.components.items():
        files = [file.name for file in (folder.path / name).glob("*")]
        has_vocabulary = any(file in _VOCABULARIES or file.endswith(".model") for file in files)
        needs_one = ("Tokenizer" in class_name or class_name in READ_TEXT) and not class_name.startswith(
            _WITHOUT_VOCABULARY
        )
        if not files or (needs_one and not has_vocabulary):
            what = "its vocabulary is missing" if files else "it is missing"
            message = f"{folder.reference}: the component {name} is not complete, {what}"
            raise ModelUnsupportedError(f"{message}; download the model again", folder.reference)


def _encoders(
    folder: ModelFolder, settings: dict[str, Any], *, precision: Precision, besides: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Load what transformers loads. Unlike diffusers' models, its ones fill in missing tensors with random numbers."""
    import transformers

    for name, (library, class_name) in folder.components.items():
        cls: Any = getattr(transformers, class_name, None) if library == "transformers" else None
        is_model = inspect.isclass(cls) and issubclass(cls, transformers.PreTrainedModel)
        if not is_model or name in besides:
            continue
        has_variant = folder.variant is not None and any((folder.path / name).glob(f"*.{folder.variant}*.safetensors"))
        variant = {"variant": folder.variant} if has_variant else {}
        model, report = cls.from_pretrained(
            folder.path / name, output_loading_info=True, dtype=precision.of(name), **settings, **variant
        )
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            message = f"{folder.reference}: the weights of {name} are not complete ({len(missing)} tensors are missing"
            raise ModelUnsupportedError(f"{message}, {missing[0]:.80} is one); download it again", folder.reference)
        yield name, model


def _mend(pipeline: Any, device: str) -> None:
    """Bridge what a pipeline expects and does not find, or does and should not."""
    import torch

    name = type(pipeline).__name__
    if name == "AnyFlowFARPipeline":  # it counts on bars of its own
        pipeline.set_progress_bar_config(disable=True)
    elif name == "I2VGenXLPipeline" and not hasattr(pipeline.text_encoder, "text_model"):
        # transformers 5 made CLIPTextModel its own text model. Not an attribute: a module must not contain itself.
        pipeline.text_encoder.__dict__["text_model"] = pipeline.text_encoder
    elif name == "AnimateDiffSDXLPipeline":
        # Its own way leaves half of the autoencoder as it is, and decoders do not go from one precision to another.
        pipeline.upcast_vae = functools.partial(pipeline.vae.to, dtype=torch.float32)
    elif name == "HeliosPyramidPipeline":
        # At a third, the covariance of its noise has no inverse: each processor's rounding decides whether it fails.
        try:
            pipeline.sample_block_noise(1, 1, 1, 2, 2, device=device, generator=torch.Generator(device).manual_seed(0))
        except torch.linalg.LinAlgError:
            scheduler = pipeline.scheduler
            scheduler.register_to_config(gamma=min(scheduler.config.gamma, 1 / 3 - 1e-6))
