"""What a model of this machine can do: of what its card says, or of its files, its classes and its family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cinelet.domain.backend import Capabilities, FrameRule
from cinelet.domain.request import POLICY_FIELDS, Task
from cinelet.domain.sizes import SizeRule

if TYPE_CHECKING:
    from cinelet.backends.diffusers.model_folder import ModelFolder
    from cinelet.backends.diffusers.plan import Model
    from cinelet.domain.model import ModelReference


def of_card(folder: ModelFolder, reference: ModelReference, *, device: str) -> Capabilities | None:
    """Return what a model of the package can do, without any library; None where its card does not say it all."""
    signature = folder.card.signature
    if signature is None:
        return None
    return Capabilities(
        model=str(reference),
        tasks=frozenset(signature.tasks),
        runs_on=_this_machine(device),
        parameters=frozenset(signature.parameters),
        native_fps=folder.card.native_fps,
        frame_rule=FrameRule(*signature.frames, folder.card.max_frames),
        size_multiple=signature.size_multiple,
        size_rule=SizeRule(signature.size_multiple, folder.card.sizes),
        default_size=folder.card.default_size,
        default_steps=folder.card.default_steps,
        default_guidance=folder.card.default_guidance,
        **_said(folder),
    )


def of_models(models: Mapping[Task, Model], reference: ModelReference, *, device: str) -> Capabilities:
    """Return what a model can do by the pipeline of each of its tasks."""
    first = next(iter(models.values()))
    guidance = first.folder.card.default_guidance
    guider = _guider_scale(first.folder) if first.has_guider else None
    by_signature = guider or first.arguments.default(first.arguments.guidance or "")
    return Capabilities(
        model=str(reference),
        tasks=frozenset(models),
        runs_on=_this_machine(device),
        parameters=frozenset().union(*(model.honoured() for model in models.values())) - POLICY_FIELDS,
        native_fps=first.native_fps,
        frame_rule=first.grid.frames,
        size_multiple=first.grid.multiple,
        size_rule=first.grid.size_rule,
        default_size=first.grid.default_size,
        default_steps=first.default_steps,
        default_guidance=by_signature if guidance is None else guidance,
        **_said(first.folder),
    )


def _this_machine(device: str) -> str:
    return f"this machine ({device})"


def _said(folder: ModelFolder) -> dict[str, Any]:
    """Return what a model says of itself."""
    return {
        "license": folder.card.license,
        "description": folder.card.description or f"{folder.class_name} of diffusers",
        "vocabulary": folder.card.vocabulary,
        "examples": folder.card.examples,
    }


def _guider_scale(folder: ModelFolder) -> float | None:
    """Return the guidance that a guider component is configured with."""
    value = folder.config("guider").get("guidance_scale")
    return float(value) if isinstance(value, (int, float)) else None
