"""`/v1/models`: what can be named, and what one can do here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from cinelet.api.access import caller_of
from cinelet.api.model_list import ModelList, listed_models
from cinelet.api.model_view import ModelView, model_view
from cinelet.api.state import Service, Who
from cinelet.domain.errors import ModelNotFoundError, ValidationError
from cinelet.jobs.usage import models_used_lately

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(caller_of)])


@router.get("")
async def list_models(service: Service, caller: Who) -> ModelList:
    """List the models that are configured, downloaded, or used lately by the caller; any other can be named as well."""
    async with service.jobs.database.connection() as connection:
        used = await models_used_lately(connection, caller.owner)
    return ModelList(data=await listed_models(service.config, used_lately=used))


@router.get("/{model:path}")
async def show_model(model: Annotated[str, Path(max_length=500)], service: Service, caller: Who) -> ModelView:
    """Say what a model can do here, where it is loaded now, and what may be asked of it; or why it cannot run."""
    jobs = service.jobs
    service.open_models.require_model(caller, model)
    try:
        capabilities = await jobs.service.capabilities(model)
    except ValidationError as error:
        raise ModelNotFoundError(error.message) from error
    return model_view(capabilities, workers=await jobs.roster.list(), limits=service.config.limits)
