"""The models that are worth naming here, with the reasons: those that can run here come first. Asks no network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from cinelet.assembly import missing_packages, queue_of
from cinelet.config import EMBEDDED_MODEL, Config
from cinelet.domain.errors import ValidationError
from cinelet.domain.model import AUTO, ModelReference

Where = Literal["here", "remote", "either"]
_ORDER: dict[Where, int] = {"here": 0, "either": 0, "remote": 1}
DOWNLOADED, USED_LATELY = "downloaded", "used lately"


class ListedModel(BaseModel):
    """A model that can be named. Any other can be named as well."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "cinelet"
    where: Where
    """Whether this machine runs it, a provider, or a provider where one serves it and this machine else."""
    roles: list[str]
    """Why it is listed: `default for text-to-video`, `fallback for ...`, `downloaded`, `used lately`, ..."""


class ModelList(BaseModel):
    """Models; those that can run on this machine come first."""

    object: Literal["list"] = "list"
    data: list[ListedModel]


async def listed_models(config: Config, *, used_lately: Sequence[str] = ()) -> list[ListedModel]:
    """Return the models that are configured, downloaded, or were used lately (these are given)."""
    downloaded = await asyncio.to_thread(_downloaded, config)
    roles: dict[str, list[str]] = {EMBEDDED_MODEL: ["inside the package"]}
    for task, model in config.default_models.items():
        roles.setdefault(model, []).append(f"default for {task}")
    for task, models in config.fallback_models.items():
        for model in models:
            roles.setdefault(model, []).append(f"fallback for {task}")
    for model in config.cinelet_auto_models:
        roles.setdefault(model, []).append(f"chosen by {AUTO}")
    roles.setdefault(str(AUTO), []).append("the best of several, by how they perform")
    here = set(downloaded)
    for name in downloaded:
        # Where its plain name may lead to a provider, this one does not.
        plain = name in roles and where_of(name, config) == "here"
        roles.setdefault(name if plain else f"local:{name}", [])
    for model in filter(_is_reference, used_lately):
        roles.setdefault(model, []).append(USED_LATELY)
    for model, uses in roles.items():
        reference = ModelReference.parse(model)
        if reference.scheme in {"hub", "local"} and reference.name in here:
            uses.append(DOWNLOADED)
    found = [ListedModel(id=model, where=where_of(model, config), roles=uses) for model, uses in roles.items()]
    return sorted(found, key=lambda model: _ORDER[model.where])


def where_of(model: str, config: Config) -> Where:
    """Return where a model runs that is named so."""
    reference = ModelReference.parse(model)
    if reference == AUTO:
        return "either"
    if queue_of(reference, config) == "local":
        return "here"
    return "either" if reference.scheme == "hub" and not missing_packages() else "remote"


def _is_reference(model: str) -> bool:
    """Tell whether a name that was kept is still one; a name that older versions knew would stop the whole list."""
    try:
        ModelReference.parse(model)
    except ValidationError:
        return False
    return True


def _downloaded(config: Config) -> Sequence[str]:
    if missing_packages():
        return ()
    from cinelet.backends.diffusers.downloaded import downloaded_models

    return downloaded_models(config.hub_cache)
