"""What administrators see of an order to load or unload a model. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cinelet.api.admin_view import LoadedModelView
from cinelet.domain.model import MAX_REFERENCE_CHARACTERS
from cinelet.jobs.orders import TIMEOUT_SECONDS, Order

MAX_TIMEOUT_SECONDS = 86400.0
State = Literal["waiting", "running", "done", "failed"]


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class OrderBody(BaseModel):
    """What the workers for local models are to do."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    action: Literal["load", "unload"]
    model: str = Field(max_length=MAX_REFERENCE_CHARACTERS, examples=["embedded"])
    """The reference of a model that runs on the workers' machines."""
    timeout_seconds: Annotated[float, Field(strict=True, gt=0, le=MAX_TIMEOUT_SECONDS)] = TIMEOUT_SECONDS
    """A load that has not begun by then fails."""


class OrderErrorView(_View):
    """Why a worker could not do it."""

    code: str
    message: str


class WorkersOrderView(_View):
    """What one worker does about it."""

    worker: str
    state: State
    stage: str | None
    """Of a load: `downloading` or `loading`."""
    step: int
    """Of the stage, such as bytes that have come."""
    steps: int
    seconds: float | None
    """What a load took."""
    loaded: LoadedModelView | None
    """After a load."""
    unloaded: bool | None
    """After an unload: whether the model was loaded."""
    error: OrderErrorView | None
    started_at: float | None
    ended_at: float | None


class OrderView(_View):
    """An order, and what each worker does about it. It is forgotten an hour after its end."""

    id: str
    object: Literal["model.order"] = "model.order"
    action: Literal["load", "unload"]
    model: str
    state: State
    """Of all: `done` where every worker has done it, `failed` where all have ended and one could not."""
    created_at: float
    workers: list[WorkersOrderView]


def order_view(orders: Sequence[Order]) -> OrderView:
    """Return the view of an order's rows, of which there is at least one."""
    first = orders[0]
    return OrderView(
        id=first.id,
        action=first.action,
        model=first.model,
        state=_state(orders),
        created_at=min(order.created_at for order in orders).timestamp(),
        workers=[_of_worker(order) for order in orders],
    )


def _state(orders: Sequence[Order]) -> State:
    states = {order.state for order in orders}
    if states == {"waiting"}:
        return "waiting"
    if not states <= {"done", "failed"}:
        return "running"
    return "failed" if "failed" in states else "done"


def _of_worker(order: Order) -> WorkersOrderView:
    result = dict(order.result or {})
    seconds, unloaded = result.pop("seconds", None), result.pop("unloaded", None)
    return WorkersOrderView(
        worker=order.worker,
        state=order.state,
        stage=order.stage,
        step=order.step,
        steps=order.steps,
        seconds=seconds,
        loaded=LoadedModelView(**result) if result else None,
        unloaded=unloaded,
        error=order.error and OrderErrorView(code=order.error["code"], message=order.error["message"]),
        started_at=order.started_at and order.started_at.timestamp(),
        ended_at=order.ended_at and order.ended_at.timestamp(),
    )
