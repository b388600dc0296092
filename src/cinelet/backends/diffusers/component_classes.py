"""The classes of a model's components: known kinds of parts, and nothing that chooses or loads others."""

from __future__ import annotations

import importlib
from typing import Any

from cinelet.backends.diffusers.libraries import importing
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.domain.errors import ModelUnsupportedError

_OF_TRANSFORMERS = (
    "PreTrainedModel",
    "PreTrainedTokenizerBase",
    "ProcessorMixin",
    "ImageProcessingMixin",
    "FeatureExtractionMixin",
    "BaseVideoProcessor",
)


def check_classes(folder: ModelFolder) -> None:
    """Raise `ModelUnsupportedError` for a component whose class is no part that a pipeline has.

    A class that exists may still load what nobody has looked at: a pipeline as a component reads an index of its own,
    and those named Auto... take whichever class the files name.
    """
    for name, (library, class_name) in folder.components.items():
        cls = _found(library, class_name)
        if not (isinstance(cls, type) and issubclass(cls, _kinds(library)) and not issubclass(cls, _loaders())):
            message = f"{folder.reference}: the component {name} is of {class_name!r:.60}, which is no part of a model"
            raise ModelUnsupportedError(f"{message} in what is installed; update it, or use another", folder.reference)


def _found(library: str, class_name: str) -> Any:
    """Return what diffusers will take for the class of a component."""
    try:
        with importing():
            if library in {"diffusers", "transformers"}:
                return getattr(importlib.import_module(library), class_name, None)
            # What the folder's check let through is one of these.
            return getattr(importlib.import_module(f"diffusers.pipelines.{library}"), class_name, None)
    except (ImportError, RuntimeError):
        return None


def _kinds(library: str) -> tuple[type, ...]:
    """Return the classes that the parts of a library are derived from."""
    import diffusers
    import transformers

    if library == "diffusers":
        return (diffusers.ConfigMixin,)
    with importing():
        found = [getattr(transformers, name, None) for name in _OF_TRANSFORMERS]
    of_transformers = tuple(kind for kind in found if isinstance(kind, type))
    return of_transformers if library == "transformers" else (diffusers.ConfigMixin, *of_transformers)


def _loaders() -> tuple[type, ...]:
    """Return the classes that would load whatever the files name."""
    import diffusers

    with importing():
        return (diffusers.DiffusionPipeline, diffusers.AutoModel)
