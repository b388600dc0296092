"""`/v1/admin/models/orders`: what the workers for local models are to load, and to forget."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from cinelet.api.access import CallerWith
from cinelet.api.errors import NoSuchOrderError
from cinelet.api.json_body import JsonRoute
from cinelet.api.order_view import OrderBody, OrderView, order_view
from cinelet.api.state import Jobs
from cinelet.jobs.keys import Role

router = APIRouter(
    route_class=JsonRoute, prefix="/v1/admin/models", tags=["admin"], dependencies=[Depends(CallerWith(Role.ADMIN))]
)


@router.post("/orders", status_code=202)
async def give_order(body: OrderBody, jobs: Jobs) -> OrderView:
    """Tell every worker for local models to load a model, or to forget it."""
    return order_view(await jobs.orders.give(body.action, body.model, timeout_seconds=body.timeout_seconds))


@router.get("/orders/{order_id}")
async def show_order(order_id: Annotated[str, Path(max_length=5000)], jobs: Jobs) -> OrderView:
    """Say how far each worker is."""
    found = await jobs.orders.get(order_id)
    if not found:
        raise NoSuchOrderError
    return order_view(found)
