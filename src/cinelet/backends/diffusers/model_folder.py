"""A model's folder on disk, checked before anything in it is loaded. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cinelet.backends.diffusers.card import CARD_NAME, ModelCard, read_card
from cinelet.backends.diffusers.component_files import check_component
from cinelet.backends.diffusers.gguf_file import gguf_of, tensor_bytes
from cinelet.backends.diffusers.known_models import known_card
from cinelet.backends.diffusers.tensors import Elements, elements_of, together
from cinelet.backends.diffusers.weight_files import choose_variant, weights_of
from cinelet.domain.errors import ModelNotFoundError, ModelUnsupportedError

INDEX_NAME = "model_index.json"
MAX_JSON_BYTES = 10_000_000
_LIBRARIES = frozenset({"diffusers", "transformers"})


@dataclass(frozen=True)
class ModelFolder:
    """A diffusers model whose index names nothing but known libraries and whose weights are safetensors or gguf files.

    components: name -> (library, class). quantization: how the networks are quantized while they are loaded, "int8",
    "fp8" or not at all.
    """

    path: Path
    reference: str
    class_name: str
    components: Mapping[str, tuple[str, str]]
    index: Mapping[str, Any]
    card: ModelCard
    quantization: str | None = None

    def config(self, component: str) -> Mapping[str, Any]:
        """Return a component's configuration; empty where it has none."""
        for name in ("config.json", "scheduler_config.json", "guider_config.json"):
            path = self.path / component / name
            if path.is_file():
                return _read_json(path, self.reference)
        return {}

    @property
    def revision(self) -> str | None:
        """The commit of a Hub model."""
        return self.path.name if self.path.parent.name == "snapshots" else None

    @cached_property
    def variant(self) -> str | None:
        """The variant of the weights to load, as "fp16", where there are no plain ones."""
        files = {name: [file.name for file in (self.path / name).glob("*")] for name in self.components}
        return choose_variant(files)

    def weights(self, component: str) -> list[Path]:
        """Return the files of a component's weights that are loaded."""
        folder = self.path / component
        return sorted(folder / name for name in weights_of((file.name for file in folder.glob("*")), self.variant))

    @cached_property
    def tensors(self) -> Mapping[str, Elements]:
        """How many numbers of each type each component has, as the headers of its files list them."""
        return {name: self._elements(name) for name in self.components}

    def _elements(self, component: str) -> Elements:
        if (file := gguf_of(self.path / component)) is not None:
            return Elements({"U8": tensor_bytes(file, self.reference)})
        return together(elements_of(file, self.reference) for file in self.weights(component))


def open_folder(path: Path, reference: str) -> ModelFolder:
    """Check the folder `path` of the model `reference`.

    Raises `ModelNotFoundError` where there is no diffusers model and `ModelUnsupportedError` for one that names foreign
    code, has weights in pickle files only, or whose files lead out of the folder.
    """
    model = read_index(path, reference)
    _check_inside(path, reference)
    for name in model.components:
        check_component(path / name, name, reference)
    has_card = (path / CARD_NAME).is_file()
    return replace(model, card=read_card(path) if has_card else known_card(reference))


def read_index(path: Path, reference: str) -> ModelFolder:
    """Check the index of the folder `path` alone, as `open_folder` does; the other files need not be there yet."""
    if not path.is_dir():
        what = "is a file, not a directory" if path.exists() else "does not exist"
        raise ModelNotFoundError(f"{reference}: {path} {what}; give the directory of a diffusers model")
    if not (path / INDEX_NAME).is_file():
        message = f"{reference}: {path} is no diffusers model, it has no {INDEX_NAME}"
        raise ModelNotFoundError(f"{message}; give a directory that DiffusionPipeline.save_pretrained wrote")
    index = _read_json(path / INDEX_NAME, reference)
    class_name = index.get("_class_name")
    if not isinstance(class_name, str) or not class_name.isidentifier():
        message = f"{reference}: {INDEX_NAME} names a pipeline class that is not diffusers' own ({class_name!r:.80})"
        raise ModelUnsupportedError(f"{message}; foreign code is never run", reference)
    return ModelFolder(path, reference, class_name, dict(_components(index, reference)), index, ModelCard())


def _components(index: Mapping[str, Any], reference: str) -> list[tuple[str, tuple[str, str]]]:
    """List the components that are there, or refuse the index."""
    found = []
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if len(value) != 2 or not all(part is None or isinstance(part, str) for part in value):
            raise ModelUnsupportedError(f"{reference}: {INDEX_NAME} is broken at {name!r:.80}", reference)
        library, class_name = value
        if library is None or class_name is None:
            continue
        if not name.isidentifier() or not class_name.isidentifier() or not _is_known(library):
            message = f"{reference}: {INDEX_NAME} takes {name!r:.60} from foreign code ({library!r:.60})"
            raise ModelUnsupportedError(
                f"{message}, which is never run; use a model in diffusers' own format", reference
            )
        found.append((name, (library, class_name)))
    return found


def _is_known(library: str) -> bool:
    """Say whether a component's library is diffusers, transformers or one of diffusers' own pipeline modules."""
    if library in _LIBRARIES:
        return True
    spec = find_spec("diffusers")
    if spec is None or not spec.submodule_search_locations or not library.isidentifier():
        return False
    return (Path(spec.submodule_search_locations[0]) / "pipelines" / library).is_dir()


def _check_inside(path: Path, reference: str) -> None:
    """Refuse links that lead out of the folder, but for those of the Hub's cache to its own blobs."""
    root = path.resolve()
    allowed = [root]
    if root.parent.name == "snapshots":
        # Beside the snapshots, and what all repositories of the cache share.
        allowed += [root.parent.parent / "blobs", root.parent.parent.parent / "blobs"]
    for file in root.rglob("*"):
        if file.is_symlink() and not any(file.resolve().is_relative_to(place) for place in allowed):
            message = f"{reference}: {file.relative_to(root)} is a link that leads out of the model's directory"
            raise ModelUnsupportedError(f"{message}; copy the file there", reference)


def _read_json(path: Path, reference: str) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelUnsupportedError(f"{reference}: {path.name} is larger than {MAX_JSON_BYTES:,} bytes", reference)
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        message = f"{reference}: {path.parent.name}/{path.name} is not valid JSON ({error!s:.80})"
        raise ModelUnsupportedError(f"{message}; download the model again", reference) from error
    if not isinstance(value, dict):
        raise ModelUnsupportedError(f"{reference}: {path.parent.name}/{path.name} is no JSON object", reference)
    return value
