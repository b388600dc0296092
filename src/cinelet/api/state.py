"""What the routes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from cinelet.api.access import Caller, CallerWith, caller_of
from cinelet.api.errors import NoSuchGenerationError
from cinelet.api.open_models import OpenModels
from cinelet.config import Config
from cinelet.jobs.durable import DurableJobs
from cinelet.jobs.generation import Generation
from cinelet.jobs.keys import Keys, Role


@dataclass(frozen=True, slots=True)
class State:
    """The open service."""

    config: Config
    jobs: DurableJobs
    open_models: OpenModels


# Coroutines, though they wait for nothing: FastAPI runs a plain function in a thread.
async def state_of(request: Request) -> State:
    """Return the open service."""
    state: State = request.app.state.cinelet
    return state


async def jobs_of(request: Request) -> DurableJobs:
    """Return the durable jobs."""
    return (await state_of(request)).jobs


async def keys_of(request: Request) -> Keys:
    """Return the table of keys."""
    keys: Keys = request.app.state.keys
    return keys


Jobs = Annotated[DurableJobs, Depends(jobs_of)]
Service = Annotated[State, Depends(state_of)]
Who = Annotated[Caller, Depends(caller_of)]
WhoAdministers = Annotated[Caller, Depends(CallerWith(Role.ADMIN))]
WhoGenerates = Annotated[Caller, Depends(CallerWith(Role.GENERATE))]


async def found(jobs: DurableJobs, generation_id: str, caller: Caller) -> Generation:
    """Return a generation that the caller sees, or raise what says nothing about those of others."""
    generation = await jobs.ledger.get(generation_id, owner=caller.sees)
    if generation is None:
        raise NoSuchGenerationError
    return generation
