"""What lies whole in the Hub's cache and makes videos is found, and nothing else is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cinelet.backends.diffusers.downloaded import downloaded_models
from cinelet.backends.diffusers.weight_files import are_whole
from tests.backends.diffusers.hub_model import NEEDED, WEIGHTS, model_files

COMMIT = "a" * 40


def put(cache: Path, name: str, files: Mapping[str, bytes], *, ref: str | None = COMMIT) -> Path:
    """Put a repository into a cache, as links to blobs."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True)
    if ref is not None:
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(ref)
    for number, (path, content) in enumerate(files.items()):
        blob, link = folder / "blobs" / str(number), folder / "snapshots" / COMMIT / path
        blob.write_bytes(content)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return folder


def needed(*without: str, **index: object) -> dict[str, bytes]:
    return {name: content for name, content in model_files(**index).items() if name in NEEDED - set(without)}


def test_whole_video_models_are_found_in_order(tmp_path: Path) -> None:
    for name in ("org/b", "org/a", "a-1/x.y_z"):
        put(tmp_path, name, needed())
    assert downloaded_models(tmp_path) == ("a-1/x.y_z", "org/a", "org/b")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"model_index.json": b"{"},
        {"model_index.json": b"\xff"},
        needed(_class_name="FluxPipeline"),
        needed(_class_name="WanVideoToVideoPipeline"),
        needed(_class_name="../x"),
        needed(other=["my_code", "Thing"]),
        needed(WEIGHTS),
        needed("tokenizer/spiece.model", "tokenizer/tokenizer_config.json"),
        {name: content for name, content in needed().items() if not name.startswith("vae/")},
        {**needed(WEIGHTS), WEIGHTS.replace(".saf", "-00001-of-00002.saf"): b"half"},
        {**needed(WEIGHTS), "transformer/diffusion_pytorch_model.bin": b"pickle"},
    ],
)
def test_what_is_not_whole_or_makes_no_videos_is_not_found(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    put(tmp_path, "org/model", files)
    put(tmp_path, "org/whole", needed())
    assert downloaded_models(tmp_path) == ("org/whole",)


def test_weights_in_parts_are_whole_with_all_of_them(tmp_path: Path) -> None:
    parts = {WEIGHTS.replace(".saf", f"-0000{number}-of-00002.saf"): b"half" for number in (1, 2)}
    put(tmp_path, "org/model", {**needed(WEIGHTS), **parts})
    assert downloaded_models(tmp_path) == ("org/model",)


def test_a_file_that_was_removed_from_the_cache_is_missed(tmp_path: Path) -> None:
    folder = put(tmp_path, "org/model", needed())
    (folder / "snapshots" / COMMIT / WEIGHTS).resolve().unlink()
    assert downloaded_models(tmp_path) == ()


def test_a_folder_that_is_no_cache_holds_nothing(tmp_path: Path) -> None:
    put(tmp_path, "org/without-a-revision", needed(), ref=None)
    put(tmp_path, "org/of-another-revision", needed(), ref="b" * 40)
    (tmp_path / "models--file--x").write_text("a file")
    (tmp_path / "datasets--org--model").mkdir()
    put(tmp_path, "alone", needed())
    assert downloaded_models(tmp_path) == ()
    assert downloaded_models(tmp_path / "none") == ()
    assert downloaded_models(Path("~nobody-of-this-name/x")) == ()


def test_one_whole_variant_is_enough() -> None:
    assert are_whole(["config.json", "diffusion_pytorch_model.fp16.safetensors"])
    assert are_whole(["model-00001-of-00001.safetensors"])
    assert are_whole(["model.safetensors", "model.fp16-00001-of-00002.safetensors"])
    assert not are_whole(["model.fp16-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
    assert not are_whole(["config.json", "ema.safetensors"])
