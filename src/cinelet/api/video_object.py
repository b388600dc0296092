"""A generation as the object of `/v1/videos`: the names, states and types that OpenAI's client knows."""

from __future__ import annotations

from typing import Any

from cinelet.jobs.generation import Generation
from cinelet.jobs.queue import REMIXED_FROM
from cinelet.jobs.states import State

_STATUS = {
    State.QUEUED: "queued",
    State.IN_PROGRESS: "in_progress",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    # Any status that the client does not know ends its polling as if there were a video.
    State.CANCELLED: "failed",
}


def video_of(generation: Generation, *, ignored: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the object; what is measured replaces what was asked. ignored: fields that were sent for nothing."""
    request, result = generation.request, generation.result or {}
    width, height = request.get("width"), request.get("height")
    asked_size = f"{width}x{height}" if width and height else ""
    seconds = result.get("duration", request.get("duration", 6))
    found: dict[str, Any] = {
        "id": generation.id,
        "object": "video",
        "model": generation.model or generation.requested_model,
        "status": _STATUS[generation.state],
        "progress": int(generation.progress * 100),
        "created_at": int(generation.created_at.timestamp()),
        "completed_at": int(generation.finished_at.timestamp()) if generation.finished_at else None,
        "expires_at": None,
        "seconds": f"{seconds:g}",
        "size": result.get("resolution", asked_size),
        "prompt": request.get("prompt"),
        "remixed_from_video_id": request.get(REMIXED_FROM),
        "error": _error(generation),
        "state": generation.state.value,
        "stage": generation.stage,
        "eta_seconds": generation.eta_seconds,
    }
    if result:
        found |= {
            "fps": result["fps"],
            "num_frames": result["frames"],
            "duration_s": result["duration"],
            "inference_time_s": result["generation_time"],
            "seed": result["seed"],
            "adjustments": result["adjustments"],
        }
    if ignored:
        found["ignored"] = list(ignored)
    return found


def _error(generation: Generation) -> dict[str, Any] | None:
    if generation.state is State.CANCELLED:
        return {"code": "cancelled", "message": "The generation was cancelled"}
    if generation.error is None:
        return None
    return {"code": generation.error["code"], "message": generation.error["message"]}
