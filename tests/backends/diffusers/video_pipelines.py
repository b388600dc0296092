"""The pipelines of the installed diffusers that make clips, and why some of them make none here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import diffusers

from cinelet.backends.diffusers.arguments import FRAME_ARGUMENTS, arguments_of, pipeline_classes
from cinelet.backends.diffusers.card import ModelCard
from cinelet.backends.diffusers.families import family_of
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.request import Task


def model_of(class_name: str, **index: Any) -> ModelFolder:
    """A model of a class, as far as its index."""
    return ModelFolder(Path(), "org/model", class_name, {}, {"_class_name": class_name, **index}, ModelCard())


def tasks_of(class_name: str, **index: Any) -> set[Task]:
    return set(pipeline_classes(model_of(class_name, **index), family_of(class_name)))


@cache
def video_pipelines() -> frozenset[str]:
    """The pipelines of diffusers whose call has a number of frames."""
    with quiet_libraries():  # some of them warn when they are imported
        classes = {name: getattr(diffusers, name) for name in dir(diffusers) if name.endswith("Pipeline")}
    return frozenset(name for name, cls in classes.items() if set(FRAME_ARGUMENTS) & set(arguments_of(cls).defaults))


def reason_against(class_name: str) -> str | None:
    """Return what the service says of a model of this class that it cannot run, None for one that it can."""
    try:
        tasks_of(class_name)
    except ModelUnsupportedError as error:
        return str(error).removeprefix("org/model: ")
    return None


def refused_pipelines() -> dict[str, str]:
    """Return the pipelines that can never run here, with the reason. Those that only want a package are not."""
    names = video_pipelines() | {name for name in dir(diffusers) if name.endswith("Pipeline") and _is_refused(name)}
    reasons = {name: reason_against(name) for name in sorted(names)}
    return {name: reason for name, reason in reasons.items() if reason and "needs packages" not in reason}


def _is_refused(name: str) -> bool:
    return family_of(name).refused is not None
