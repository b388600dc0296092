"""What a pipeline takes, read from the signature of its `__call__`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from cinelet.backends.diffusers.families import Family
from cinelet.backends.diffusers.libraries import importing
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.request import Task

FRAME_ARGUMENTS = ("num_frames", "video_length", "frames")
RATE_ARGUMENTS = ("frame_rate", "fps")
GUIDANCE_ARGUMENTS = ("guidance_scale", "max_guidance_scale")
IMAGE_ARGUMENTS = ("image", "cond_image")
_GIVEN = frozenset({"prompt", "self", *IMAGE_ARGUMENTS, *FRAME_ARGUMENTS})


@dataclass(frozen=True, slots=True)
class Arguments:
    """A pipeline's arguments by name, with their defaults; those by what they mean are None if it has none."""

    defaults: dict[str, Any]
    frames: str | None
    rate: str | None
    guidance: str | None
    image: str | None

    def __contains__(self, name: str) -> bool:
        return name in self.defaults

    def default(self, name: str) -> Any:
        """Return an argument's default, None where it has none."""
        value = self.defaults.get(name)
        return None if value is inspect.Parameter.empty else value


def arguments_of(pipeline_class: type, *, guidance: str | None = None) -> Arguments:
    """Read the signature; `**kwargs` counts as nothing. guidance: the argument for it, where that is not the usual."""
    named = {
        name: parameter.default
        for name, parameter in inspect.signature(pipeline_class.__call__).parameters.items()
        if parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL} and name != "self"
    }

    def first(names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in named), None)

    return Arguments(
        named,
        first(FRAME_ARGUMENTS),
        first(RATE_ARGUMENTS),
        first((guidance, *GUIDANCE_ARGUMENTS) if guidance else GUIDANCE_ARGUMENTS),
        first(IMAGE_ARGUMENTS),
    )


def pipeline_classes(folder: ModelFolder, family: Family) -> dict[Task, type]:
    """Return the pipeline class for each task that the model can do.

    Raises `ModelUnsupportedError` where diffusers has no such pipeline, or it makes no video from text or one image.
    """
    if family.refused:
        raise _needs_more(folder, family.refused)
    own = find_class(folder.class_name, folder.reference)
    arguments = arguments_of(own)
    if arguments.frames is None:
        message = f"{folder.reference}: {folder.class_name} makes no video from a text or an image"
        raise ModelUnsupportedError(f"{message}; use a text-to-video or image-to-video model", folder.reference)
    needed = [name for name, default in arguments.defaults.items() if default is inspect.Parameter.empty]
    if foreign := [name for name in needed if name not in _GIVEN]:
        raise _needs_more(folder, ", ".join(foreign))
    _check_packages(folder, family)
    found: dict[Task, type] = {}
    image_is_needed = family.needs_image or arguments.image in needed
    if "prompt" in arguments and not image_is_needed:
        found[Task.TEXT_TO_VIDEO] = own
    if arguments.image:
        found[Task.IMAGE_TO_VIDEO] = own
    if family.image_class and Task.IMAGE_TO_VIDEO not in found and _flag(folder, family):
        found[Task.IMAGE_TO_VIDEO] = find_class(family.image_class, folder.reference)
    if family.text_class and Task.TEXT_TO_VIDEO not in found:
        found[Task.TEXT_TO_VIDEO] = find_class(family.text_class, folder.reference)
    if not found:
        message = f"{folder.reference}: {folder.class_name} takes neither a prompt nor one image"
        raise ModelUnsupportedError(f"{message}; use a text-to-video or image-to-video model", folder.reference)
    return found


def true_guidance(folder: ModelFolder, family: Family) -> str | None:
    """Return the argument that guides a model by a second run of its network, where no input of the network does."""
    without_input = folder.config("transformer").get("guidance_embeds") is False
    return family.true_guidance if without_input else None


def check_task(task: Task, classes: Mapping[Task, type], reference: str) -> None:
    """Raise `ModelUnsupportedError` for a task that a model lacks. classes: what `pipeline_classes` found."""
    if task not in classes:
        message = f"{reference} cannot do {task}, only {', '.join(classes)}"
        raise ModelUnsupportedError(f"{message}; choose another model", reference)


def find_class(name: str, reference: str) -> type:
    """Return a pipeline class of diffusers by name."""
    import diffusers

    # Nothing but diffusers' own modules can be imported by this, whatever the name is.
    try:
        with importing():
            found = getattr(diffusers, name, None)
    except (ImportError, RuntimeError) as error:
        message = f"{reference}: {name} cannot be imported from diffusers {diffusers.__version__}"
        raise ModelUnsupportedError(f"{message}; install what it needs, or use another model", reference) from error
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        message = f"{reference}: {name} is no pipeline of diffusers {diffusers.__version__} with what is installed"
        raise ModelUnsupportedError(f"{message}; update diffusers, or use another model", reference)
    return found


def _needs_more(folder: ModelFolder, what: str) -> ModelUnsupportedError:
    message = f"{folder.reference}: {folder.class_name} also needs {what}, which a request cannot give"
    return ModelUnsupportedError(f"{message}; use a text-to-video or image-to-video model", folder.reference)


def _check_packages(folder: ModelFolder, family: Family) -> None:
    """Refuse a model that needs packages which are not here."""
    if family.packages_flag is not None and not folder.index.get(family.packages_flag, True):
        return
    missing = {name: purpose for name, purpose in family.packages.items() if find_spec(name) is None}
    if missing:
        reasons = " and ".join(f"{name} ({purpose})" for name, purpose in missing.items())
        message = f"{folder.reference}: {folder.class_name} needs packages that are not installed: {reasons}"
        raise ModelUnsupportedError(f"{message}; install them, or use another model", folder.reference)


def _flag(folder: ModelFolder, family: Family) -> bool:
    return family.image_flag is None or bool(folder.index.get(family.image_flag))
