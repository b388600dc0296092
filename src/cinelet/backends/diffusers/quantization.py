"""Networks whose weights take fewer bits: made so while they are loaded, or kept so in gguf files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cinelet.backends.diffusers.gguf_file import gguf_of
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.domain.errors import ModelUnsupportedError, ValidationError

NETWORKS = ("transformer", "transformer_2", "unet")
"""The components that are worth it: they run once a step, and nearly all of them is matrices."""
QUANTIZED_BYTES = 1
"""Of a number, as int8 and as fp8."""
_LEAST_CAPABILITY_OF_FP8 = (8, 9)


def loading_options(folder: ModelFolder, *, device: str) -> dict[str, Any]:
    """Return what `from_pretrained` is to be told so that the networks are quantized as the folder's choice says.

    device: that the model is for.
    """
    names = [name for name in NETWORKS if name in folder.components and gguf_of(folder.path / name) is None]
    if folder.quantization is None or not names:
        return {}
    import diffusers
    import torch
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

    if folder.quantization == "fp8" and device.startswith("cuda"):
        capability = torch.cuda.get_device_capability(device)
        if capability < _LEAST_CAPABILITY_OF_FP8:
            why = f"this GPU computes no fp8 (it is of generation {capability[0]}.{capability[1]}, and 8.9 is needed)"
            raise ValidationError(f"CINELET_QUANTIZATION=fp8 cannot be used: {why}", {"CINELET_QUANTIZATION": why})
    kind = Int8WeightOnlyConfig if folder.quantization == "int8" else Float8WeightOnlyConfig
    # Else torchao would set how whatever comes after in this thread is compiled, which takes far longer then.
    chosen = diffusers.TorchAoConfig(kind(set_inductor_config=False))
    mapping = dict.fromkeys(names, chosen)
    return {"quantization_config": diffusers.PipelineQuantizationConfig(quant_mapping=mapping)}


def is_quantized(pipeline: Any) -> bool:
    """Tell whether the networks of a pipeline were quantized when they were loaded."""
    methods = [getattr(getattr(pipeline, name, None), "quantization_method", None) for name in NETWORKS]
    return any(str(getattr(method, "value", method)) == "torchao" for method in methods)


def bytes_of_tensor(tensor: Any) -> int:
    """Return what a tensor takes; one that is quantized says how large it would be, and keeps its parts."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(bytes_of_tensor(getattr(tensor, name)) for name in names)
    return int(tensor.numel() * tensor.element_size())


def gguf_networks(folder: ModelFolder, dtype: Any) -> Iterator[tuple[str, Any]]:
    """Load the components whose weights are gguf files; `dtype` is what they compute in."""
    for name, (library, class_name) in folder.components.items():
        file = gguf_of(folder.path / name)
        if file is None:
            continue
        import diffusers

        cls: Any = getattr(diffusers, class_name, None) if library == "diffusers" else None
        if cls is None or not hasattr(cls, "from_single_file"):
            message = (
                f"{folder.reference}: the weights of {name} are a gguf file, which {class_name} cannot be read from"
            )
            raise ModelUnsupportedError(f"{message}; use weights in safetensors", folder.reference)
        network = cls.from_single_file(
            str(file),
            config=str(folder.path),
            subfolder=name,
            quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
            dtype=dtype,
            local_files_only=True,
        )
        missing = [key for key, value in network.state_dict().items() if value.device.type == "meta"]
        if missing:
            message = f"{folder.reference}: the weights of {name} are not complete ({missing[0]:.80} is missing)"
            raise ModelUnsupportedError(f"{message}; download it again", folder.reference)
        yield name, network
