"""Models within a memory limit: what stays, what makes room, what is shared, and what is refused unread."""

from __future__ import annotations

import gc
import shutil
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from cinelet.backends.diffusers import devices, loading, model_cache
from cinelet.backends.diffusers.devices import bytes_of
from cinelet.backends.diffusers.layer_offload import LEAST_RESERVE_BYTES
from cinelet.backends.diffusers.model_cache import Loaded, ModelCache
from cinelet.backends.diffusers.model_folder import ModelFolder, open_folder
from cinelet.backends.diffusers.placement import Offload, Placement
from cinelet.backends.diffusers.precision import Precision
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.backends.diffusers.working_memory import Working
from cinelet.domain.errors import CapacityError
from tests.conftest import TinyPipeline
from tests.observability.counted import counting
from tests.tiny_pipelines import ARCHITECTURES

GB = 10**9


def opened(path: Path) -> ModelFolder:
    return open_folder(path, path.name)


def lease(cache: ModelCache, folder: ModelFolder, working: Working | None = None) -> Loaded:
    with quiet_libraries(), cache.lease(folder, lambda _: working or Working(0, 0, 0)) as loaded:
        return loaded


def names(cache: ModelCache) -> list[str]:
    return [model.model for model in cache.condition().models]


def size_of(folder: ModelFolder) -> int:
    return Precision("float32").footprint(folder).total


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_estimate_from_the_headers_is_what_a_model_takes(tiny_pipeline: TinyPipeline, name: str) -> None:
    cache = ModelCache(device="cpu")
    loaded = lease(cache, opened(tiny_pipeline(name)))
    (told,) = cache.condition().models
    assert told.bytes == bytes_of(*loaded.pipeline.components.values())
    # Tables that are computed while loading, as those of positions, are in no file.
    assert told.estimated_bytes == pytest.approx(told.bytes, rel=0.05, abs=300_000)
    assert told.placement == "float32, no offload, decoded in one piece"


def test_the_model_used_longest_ago_makes_room_and_only_as_many_as_it_takes(tiny_pipeline: TinyPipeline) -> None:
    first, second, third = (opened(tiny_pipeline(name)) for name in ("wan_t2v", "wan22_moe", "wan_i2v"))
    cache = ModelCache(device="cpu", limit_bytes=size_of(first) + size_of(second) + size_of(third) - 1)
    with counting() as counted:
        kept = lease(cache, first)
        lease(cache, second)
        assert lease(cache, first) is kept
        lease(cache, third)
    assert counted.of("cinelet_model_loads_total") == 3
    assert counted.of("cinelet_model_evictions_total") == 1
    assert names(cache) == [first.reference, third.reference]
    assert lease(cache, first) is kept


def test_a_model_in_use_never_makes_room(tiny_pipeline: TinyPipeline) -> None:
    busy, other = opened(tiny_pipeline("wan_t2v")), opened(tiny_pipeline("wan_i2v"))
    cache = ModelCache(device="cpu", limit_bytes=size_of(other))
    with quiet_libraries(), cache.lease(busy) as loaded:
        with pytest.raises(CapacityError, match=r"needs .* for its weights"), cache.lease(other):
            pass
        assert loaded.pipeline is not None
        assert names(cache) == [busy.reference]
    lease(cache, other)
    assert names(cache) == [other.reference]


def test_a_model_that_cannot_fit_is_refused_with_the_numbers_before_it_is_read(
    tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "load", lambda *_, **__: pytest.fail("it is read"))
    folder = opened(tiny_pipeline("mochi"))
    cache = ModelCache(device="cpu", limit_bytes=1000)
    with pytest.raises(CapacityError) as refused:
        lease(cache, folder)
    half = Precision("bfloat16").footprint(folder).total
    assert f"{half / 1e6:.1f} MB" in str(refused.value)
    assert "cpu has 0.0 MB for it" in str(refused.value)
    assert "CINELET_MODEL_MEMORY" in str(refused.value)


def test_without_a_free_byte_nothing_is_loaded(tiny_pipeline: TinyPipeline) -> None:
    cache = ModelCache(device="cpu", free_bytes=lambda _: 0)
    with pytest.raises(CapacityError, match=r"cpu has 0\.0 MB for it"):
        lease(cache, opened(tiny_pipeline("ltx")))


def test_a_processor_with_half_the_room_computes_in_half_the_precision(tiny_pipeline: TinyPipeline) -> None:
    folder = opened(tiny_pipeline("ltx"))
    cache = ModelCache(device="cpu", limit_bytes=size_of(folder) - 1)
    loaded = lease(cache, folder)
    assert loaded.precision == Precision("bfloat16")
    assert loaded.pipeline.transformer.dtype is torch.bfloat16
    assert lease(cache, folder) is loaded


def test_room_is_asked_for_a_run_as_well_as_for_the_weights(tiny_pipeline: TinyPipeline) -> None:
    first, second = opened(tiny_pipeline("ltx")), opened(tiny_pipeline("wan_t2v"))
    free = [100 * GB]
    cache = ModelCache(device="cpu", free_bytes=lambda _: free[0])
    lease(cache, first)
    free[0] = 20 * GB
    loaded = lease(cache, second, Working(denoise=1 * GB, decode=50 * GB, decode_tiled=2 * GB))
    assert names(cache) == [second.reference], "the other one gave its room first"
    assert loaded.placement == Placement(tiled=True)
    assert loaded.pipeline.vae.use_tiling
    assert lease(cache, second, Working(GB, GB, GB)).placement == Placement()
    assert not loaded.pipeline.vae.use_tiling, "a smaller video is decoded in one piece"


def of_the_cache(folder: Path, source: Path, *, repo: str) -> Path:
    """Lay a model out as the Hub's cache does: files are links to blobs that are named after their content."""
    import hashlib

    snapshot = folder / f"models--{repo}" / "snapshots" / "c0ffee"
    blobs = folder / f"models--{repo}" / "blobs"
    for file in sorted(source.rglob("*")):
        if file.is_file():
            blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, blob)
            link = snapshot / file.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    return snapshot


def test_what_two_models_have_in_common_is_loaded_and_counted_once(tiny_pipeline: TinyPipeline, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(tiny_pipeline("wan_t2v"), tmp_path / "changed"))
    from safetensors.torch import load_file, save_file

    weights = changed / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    one = open_folder(of_the_cache(tmp_path / "hub", tiny_pipeline("wan_t2v"), repo="a--one"), "a/one")
    two = open_folder(of_the_cache(tmp_path / "hub", changed, repo="a--two"), "a/two")
    transformer = Precision("float32").footprint(two).components["transformer"]
    cache = ModelCache(device="cpu", limit_bytes=size_of(one) + transformer)
    first, second = lease(cache, one).pipeline, lease(cache, two).pipeline
    assert names(cache) == ["a/one", "a/two"], "both fit, as most of it is there once"
    assert first.text_encoder is second.text_encoder
    assert first.vae is second.vae
    assert first.transformer is not second.transformer
    assert cache.unload("a/one")
    assert second.vae is not None
    assert cache._weights_held() == size_of(two)


def test_a_model_can_be_forgotten_by_its_name_and_goes_after_its_run_when_it_is_busy(
    tiny_pipeline: TinyPipeline,
) -> None:
    folder = opened(tiny_pipeline("ltx"))
    cache = ModelCache(device="cpu")
    assert not cache.unload(folder.reference)
    with quiet_libraries(), cache.lease(folder) as loaded:
        assert cache.unload(folder.reference)
        assert names(cache) == []
        assert loaded.pipeline is not None
    assert loaded.pipeline is None
    lease(cache, folder)
    assert cache.unload(folder.reference)


def test_a_model_that_was_full_stays_with_less_until_it_is_loaded_anew(tiny_pipeline: TinyPipeline) -> None:
    folder = opened(tiny_pipeline("wan_t2v"))
    cache = ModelCache(device="cpu")
    loaded = lease(cache, folder)
    assert cache.step_down(loaded) == Placement(tiled=True)
    assert lease(cache, folder).placement == Placement(tiled=True)
    assert cache.step_down(lease(cache, folder)) is None, "a processor has no other place for it"


def test_on_a_device_with_memory_of_its_own_a_full_model_is_brought_there_in_parts(
    tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelCache, "_offloads", True)  # the processor plays the other device
    folder = opened(tiny_pipeline("wan_t2v"))
    cache = ModelCache(device="cpu")
    loaded = lease(cache, folder)
    cache.step_down(loaded)
    loaded = lease(cache, folder)
    below = cache.step_down(loaded)
    assert below == Placement(Offload.MODEL, tiled=True)
    placed = lease(cache, folder)
    assert placed is not loaded
    assert placed.placement == below
    assert lease(cache, folder) is placed


def test_a_model_in_parts_stays_as_it_is_though_it_fills_the_limit_and_most_of_the_machine(
    tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelCache, "_offloads", True)  # the processor plays the other device
    folder = opened(tiny_pipeline("wan_t2v"))
    largest = Precision("float32").footprint(folder).largest
    reserve = LEAST_RESERVE_BYTES
    free = [reserve + size_of(folder)]
    monkeypatch.setattr(devices, "host_free_bytes", lambda: free[0])
    cache = ModelCache(device="cpu", limit_bytes=largest, free_bytes=lambda _: 100 * GB)
    needed = Working(denoise=GB, decode=1000 * GB, decode_tiled=GB)
    loaded = lease(cache, folder, needed)
    assert loaded.placement == Placement(Offload.MODEL, tiled=True)
    free[0] = reserve  # it took the rest
    assert lease(cache, folder, needed) is loaded
    assert loaded.placement == Placement(Offload.MODEL, tiled=True)
    assert loaded.pipeline.vae.use_tiling


def failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")


def test_a_load_that_fails_leaves_nothing_behind(tiny_pipeline: TinyPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = opened(tiny_pipeline("ltx"))
    cache = ModelCache(device="cpu")
    lease(cache, opened(tiny_pipeline("wan_t2v")))
    gc.collect()
    before = tensors()
    monkeypatch.setattr(loading, "place", failing)
    with pytest.raises(CapacityError, match="does not fit into the memory of cpu"):
        lease(cache, folder)
    assert names(cache) == ["wan_t2v"]
    gc.collect()
    assert tensors() == before


def tensors() -> int:
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_several_threads_get_one_and_the_same_model(tiny_pipeline: TinyPipeline) -> None:
    folder = opened(tiny_pipeline("ltx"))
    cache = ModelCache(device="cpu")
    found: list[Loaded] = []
    threads = [threading.Thread(target=lambda: found.append(lease(cache, folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert len({id(loaded.pipeline) for loaded in found}) == 1


def test_memory_stays_flat_over_many_switches(tiny_pipeline: TinyPipeline) -> None:
    folders = [opened(tiny_pipeline(name)) for name in ("wan_t2v", "ltx", "cogvideox")]
    sizes = [size_of(folder) for folder in folders]
    cache = ModelCache(device="cpu", limit_bytes=sum(sizes) - min(sizes))
    resident = psutil.Process().memory_info
    for number in range(6):
        lease(cache, folders[number % 3])
    before = resident().rss
    for number in range(50):
        lease(cache, folders[number % 3])
    assert resident().rss < 1.05 * before
