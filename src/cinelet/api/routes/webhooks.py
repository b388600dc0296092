"""`/v1/webhooks`: what was told to whom, and telling it again."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict

from cinelet.api.cursor import cursor_of, position_of
from cinelet.api.errors import NoSuchDeliveryError
from cinelet.api.state import Jobs, Who, WhoGenerates
from cinelet.jobs.deliveries import Delivery, DeliveryState

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
Id = Annotated[str, Path(alias="delivery_id", max_length=5000)]


class DeliveryView(BaseModel):
    """One event for one receiver, and what became of it. Times are seconds since the epoch."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    """The `webhook-id` of every attempt."""
    object: Literal["webhook.delivery"] = "webhook.delivery"
    generation_id: str
    url: str
    type: Literal["video.completed", "video.failed"]
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    next_at: float | None
    """When it is tried again."""
    last_status: int | None
    """What the receiver answered last, if it did."""
    last_error: str | None
    created_at: float
    last_attempt_at: float | None


class DeliveryPage(BaseModel):
    """A page, the newest first. next: what to give as `after` for the page that follows, None on the last one."""

    data: list[DeliveryView]
    next: str | None


@router.get("/deliveries")
async def list_deliveries(
    jobs: Jobs,
    caller: Who,
    state: Literal["pending", "delivered", "failed"] | None = None,
    after: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> DeliveryPage:
    """List deliveries, the newest first. after: `next` of the page before."""
    page = await jobs.deliveries.list(
        owner=caller.sees,
        state=None if state is None else DeliveryState(state),
        after=position_of(after),
        limit=limit,
    )
    return DeliveryPage(data=[_view(delivery) for delivery in page.deliveries], next=cursor_of(page.next))


@router.post("/deliveries/{delivery_id}/redeliver", status_code=202)
async def redeliver(delivery_id: Id, jobs: Jobs, caller: WhoGenerates) -> DeliveryView:
    """Deliver again, whatever became of it: at once, under the same `webhook-id`, with all its attempts."""
    delivery = await jobs.deliveries.redeliver(delivery_id, owner=caller.sees)
    if delivery is None:
        raise NoSuchDeliveryError
    return _view(delivery)


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        generation_id=delivery.generation_id,
        url=delivery.url,
        type=delivery.type,
        state=delivery.state.value,
        attempts=delivery.attempts,
        next_at=delivery.next_at and delivery.next_at.timestamp(),
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        created_at=delivery.created_at.timestamp(),
        last_attempt_at=delivery.last_attempt_at and delivery.last_attempt_at.timestamp(),
    )
