"""Quantized weights: a pipeline of their own, smaller, and never an exact video."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cinelet.backends.diffusers import SpeedSettings
from cinelet.backends.diffusers.devices import bytes_of
from cinelet.backends.diffusers.model_folder import open_folder
from cinelet.backends.diffusers.quantization import loading_options
from cinelet.backends.diffusers.tensors import footprint
from cinelet.domain.errors import ModelUnsupportedError, ValidationError
from tests.backends.diffusers.fast_runs import Bench, changes
from tests.conftest import TinyPipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: list[Bench] = []

    def make(model: Path | None, **settings: Any) -> Bench:
        made.append(Bench(tmp_path, monkeypatch, model, SpeedSettings(**settings)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_fast_runs_on_smaller_weights_and_exact_on_the_plain_ones(bench: Any, kind: str) -> None:
    pytest.importorskip("torchao")
    case = bench(None, quantization=kind, step_cache="off")
    _, exact = case.generate("exact")
    plain_bytes = bytes_of(*case.pipeline.components.values())
    video, other = case.generate("fast")
    assert video.applied["speed"] == {"quality": "fast", "quantization": kind}
    assert bytes_of(*case.pipeline.components.values()) < 0.7 * plain_bytes
    difference = abs(other.astype(int) - exact)
    assert difference.max() > 0
    assert difference.mean() < 3, "the same picture, as a model that was taught something draws it"
    balanced, after = case.generate("balanced")
    assert "quantization" not in balanced.applied["speed"]
    assert (after == exact).all()


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_quantizing_leaves_alone_how_blocks_are_compiled(
    bench: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torchao = pytest.importorskip("torchao.quantization.utils")
    calls: list[bool] = []
    # PyTorch keeps what this sets by thread, where a test would not see it.
    monkeypatch.setattr(torchao, "recommended_inductor_config_setter", lambda: calls.append(True))
    video, _ = bench(None, quantization=kind, step_cache="off").generate("fast", num_inference_steps=2)
    assert video.applied["speed"]["quantization"] == kind
    assert not calls


def test_fp8_is_refused_by_the_device_that_the_model_is_for(
    tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torchao")
    monkeypatch.setattr(torch.cuda, "get_device_capability", {"cuda:0": (9, 0), "cuda:1": (8, 0)}.__getitem__)
    folder = replace(open_folder(tiny_pipeline("wan_t2v"), "local:./model"), quantization="fp8")
    assert loading_options(folder, device="cuda:0")
    assert loading_options(folder, device="cpu")
    with pytest.raises(ValidationError, match=r"it is of generation 8\.0, and 8\.9 is needed"):
        loading_options(folder, device="cuda:1")


@pytest.fixture
def few_bits(tiny_pipeline: TinyPipeline, tmp_path: Path) -> Path:
    """A tiny Wan whose transformer is a gguf file, some of it in 8 bits."""
    gguf = pytest.importorskip("gguf")
    folder = Path(shutil.copytree(tiny_pipeline("wan_t2v"), tmp_path / "model"))
    tensors = load_file(folder / "transformer" / WEIGHTS)
    (folder / "transformer" / WEIGHTS).unlink()
    writer = gguf.GGUFWriter(folder / "transformer" / "model-Q8_0.gguf", "wan")
    for name, tensor in tensors.items():
        values = tensor.float().numpy()
        if values.ndim == 2 and values.shape[1] % 32 == 0 and "blocks" in name:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def test_a_transformer_in_a_gguf_file_is_loaded_and_runs(
    bench: Any, few_bits: Path, tiny_pipeline: TinyPipeline
) -> None:
    case = bench(few_bits)
    _, frames = case.generate("exact")
    packed = [weight for weight in case.pipeline.transformer.parameters() if weight.dtype is torch.uint8]
    assert packed, "nothing was kept in few bits"
    _, again = case.generate("exact")
    assert (again == frames).all()
    _, plain = bench(tiny_pipeline("wan_t2v")).generate("exact")
    assert abs(frames.astype(int) - plain).mean() < 3


def test_weights_in_few_bits_are_not_quantized_again(bench: Any, few_bits: Path) -> None:
    pytest.importorskip("torchao")
    video, _ = bench(few_bits, quantization="int8").generate("fast")
    assert "few bits already" in changes(video)["quantization"].reason
    assert "quantization" not in video.applied["speed"]


def test_a_gguf_file_counts_as_what_it_takes(few_bits: Path, tiny_pipeline: TinyPipeline) -> None:
    plain, packed = (
        footprint(open_folder(folder, "local:./model").tensors, float_bytes=4).components["transformer"]
        for folder in (tiny_pipeline("wan_t2v"), few_bits)
    )
    assert 0.3 * plain < packed < plain


def broken(file: Path, how: str) -> None:
    content = file.read_bytes()
    match how:
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "cut in the header":
            file.write_bytes(content[:100])
        case "another file":
            file.write_bytes(b"PK\x03\x04" + content[4:])
        case "many tensors":
            file.write_bytes(content[:8] + (2**60).to_bytes(8, "little") + content[16:])
        case _:
            file.write_bytes(b"")


@pytest.mark.parametrize("how", ["cut", "cut in the header", "another file", "many tensors", "empty"])
def test_a_gguf_file_that_is_none_is_refused_by_its_name_before_it_is_loaded(
    bench: Any, few_bits: Path, how: str
) -> None:
    broken(few_bits / "transformer" / "model-Q8_0.gguf", how)
    with pytest.raises(ModelUnsupportedError, match=r"transformer/model-Q8_0\.gguf is no complete gguf file"):
        bench(few_bits).generate("exact")


def test_a_gguf_file_that_lacks_a_tensor_is_refused(bench: Any, few_bits: Path) -> None:
    gguf = pytest.importorskip("gguf")
    file = few_bits / "transformer" / "model-Q8_0.gguf"
    writer = gguf.GGUFWriter(file, "wan")
    config = json.loads((few_bits / "transformer" / "config.json").read_text())
    writer.add_tensor("proj_out.bias", torch.zeros(4 * config["out_channels"]).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelUnsupportedError, match=r"not complete|does not load"):
        bench(few_bits).generate("exact")


def test_safetensors_beside_a_gguf_file_are_what_is_loaded(
    bench: Any, few_bits: Path, tiny_pipeline: TinyPipeline
) -> None:
    shutil.copy(tiny_pipeline("wan_t2v") / "transformer" / WEIGHTS, few_bits / "transformer" / WEIGHTS)
    _, frames = bench(few_bits).generate("exact")
    _, plain = bench(tiny_pipeline("wan_t2v")).generate("exact")
    assert (frames == plain).all()
