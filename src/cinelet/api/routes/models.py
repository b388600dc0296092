"""`/v1/models`: what can be named, and what one can do here."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path

from cinelet.api.access import caller_of
from cinelet.api.model_view import ModelView, model_view
from cinelet.api.state import Service
from cinelet.config import EMBEDDED_MODEL
from cinelet.domain.errors import ModelNotFoundError, ValidationError

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(caller_of)])


@router.get("")
async def list_models(service: Service) -> dict[str, Any]:
    """List the models that are configured; any other can be named as well."""
    config = service.config
    roles: dict[str, list[str]] = {EMBEDDED_MODEL: ["inside the package"]}
    for task, model in config.default_models.items():
        roles.setdefault(model, []).append(f"default for {task}")
    for task, models in config.fallback_models.items():
        for model in models:
            roles.setdefault(model, []).append(f"fallback for {task}")
    return {
        "object": "list",
        "data": [
            {"id": model, "object": "model", "created": 0, "owned_by": "cinelet", "roles": uses}
            for model, uses in roles.items()
        ],
    }


@router.get("/{model:path}")
async def show_model(model: Annotated[str, Path(max_length=500)], service: Service) -> ModelView:
    """Say what a model can do here, where it is loaded now, and what may be asked of it; or why it cannot run."""
    jobs = service.jobs
    try:
        capabilities = await jobs.service.capabilities(model)
    except ValidationError as error:
        raise ModelNotFoundError(error.message) from error
    return model_view(capabilities, workers=await jobs.roster.list(), limits=service.config.limits)
