"""Which models would be tried for the next request that leaves the choice to the service, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cinelet.domain.errors import CineletError
from cinelet.domain.model import AUTO
from cinelet.domain.request import Task, make_request
from cinelet.domain.selection import Selection, selected
from cinelet.service import VideoService


@dataclass(frozen=True, slots=True)
class Next:
    """What would be tried for a task; without a selection, why there is none."""

    task: Task
    selection: Selection | None
    why_not: str = ""


async def next_models(service: VideoService) -> Sequence[Next]:
    """Return what would be tried for each task. Sends nothing that costs; may ask who runs a model."""
    return await asyncio.gather(*(_next(service, task) for task in Task))


async def _next(service: VideoService, task: Task) -> Next:
    # Of a text, as no image is there; a choice looks at none.
    request = make_request(task=Task.TEXT_TO_VIDEO, model=str(AUTO), prompt="a video")
    try:
        work = service.resolved(request).model_copy(update={"task": task})
        found = await selected(service.backend, work)
    except CineletError as error:
        return Next(task, None, str(error))
    return Next(task, found, "" if found else "nothing here chooses among models")
