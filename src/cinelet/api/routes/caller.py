"""`/v1/me`: who asks, and what he may do."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from cinelet.api.limits import KeyLimits
from cinelet.api.state import Who

router = APIRouter(prefix="/v1/me", tags=["caller"])


class CallerView(BaseModel):
    """Who asks."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["caller"] = "caller"
    owner: str
    """Of what he makes."""
    role: Literal["read", "generate", "admin"]
    needs_key: bool
    """Whether requests here need a key."""
    limits: KeyLimits


@router.get("")
async def show_caller(caller: Who) -> CallerView:
    """Say who asks, what he may do, and how much of it."""
    return CallerView(
        owner=caller.owner,
        role=caller.role.value,
        needs_key=caller.needs_key,
        limits=KeyLimits() if caller.allowance is None else caller.allowance.limits,
    )
