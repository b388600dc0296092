"""huggingface.co: which providers run a model, and who may know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from tests.fake_providers.accounts import HUGGING_FACE

if TYPE_CHECKING:
    from tests.fake_providers.books import Books
    from tests.fake_providers.traffic import Received

HOST = "huggingface.co"
T2V_MODEL = "Wan-AI/Wan2.2-T2V-A14B"
I2V_MODEL = "Wan-AI/Wan2.2-I2V-A14B"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository. mapping: providers in their order, each with `status`, `providerId` and `task`."""

    mapping: Mapping[str, Mapping[str, Any]]
    private_to: str | None = None
    pipeline_tag: str = "text-to-video"


def default_models() -> dict[str, HubModel]:
    """Return one model for each task, with every provider that offers the task."""
    text = {
        "fal-ai": "fal-ai/wan/v2.2-a14b/text-to-video",
        "wavespeed": "wavespeed-ai/wan-2.2/t2v-480p",
        "together": "Wan-AI/Wan2.2-T2V-A14B",
        "replicate": "wan-video/wan-2.2-t2v-fast",
        "novita": "wan-2.2-t2v",
    }
    image = {
        "fal-ai": "fal-ai/wan/v2.2-a14b/image-to-video",
        "wavespeed": "wavespeed-ai/wan-2.2/i2v-480p",
        "together": "Wan-AI/Wan2.2-I2V-A14B",
    }
    return {
        name: HubModel(
            {provider: {"status": "live", "providerId": own, "task": task} for provider, own in models.items()},
            pipeline_tag=task,
        )
        for name, task, models in ((T2V_MODEL, "text-to-video", text), (I2V_MODEL, "image-to-video", image))
    }


class Hub:
    """GET /api/models/{id}?expand=inferenceProviderMapping."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.app = Router([Route("/api/models/{model:path}", self._model)])

    async def _model(self, request: Request) -> ASGIApp:
        async def right(received: Received) -> ASGIApp:
            return self._describe(request.path_params["model"], request.query_params.getlist("expand"), received)

        return await self._books.answer(request, "mapping", "hub", right)

    def _describe(self, name: str, expand: list[str], received: Received) -> ASGIApp:
        known = HUGGING_FACE.opens(received.authorization)
        if received.authorization and not known:
            return _refusal(401, "Invalid credentials in Authorization header")
        model = self._books.models.get(name)
        if model is None or (model.private_to and received.authorization != f"Bearer {model.private_to}"):
            # Whether a repository is private or not there is nobody's business; strangers are asked to sign in.
            status, message = (404, "Repository not found") if known else (401, "Invalid username or password.")
            return _refusal(status, message, code="RepoNotFound")
        facts = {
            "inferenceProviderMapping": {provider: dict(offer) for provider, offer in model.mapping.items()},
            "pipeline_tag": model.pipeline_tag,
            "private": model.private_to is not None,
            "tags": [model.pipeline_tag],
            "gated": False,
        }
        wanted = expand or [name for name in facts if name != "inferenceProviderMapping"]
        if unknown := set(wanted) - set(facts):
            return _refusal(400, f"Invalid expand: {', '.join(unknown)}")
        return JSONResponse({"_id": "0" * 24, "id": name, **{fact: facts[fact] for fact in wanted}})


def _refusal(status: int, message: str, *, code: str | None = None) -> JSONResponse:
    headers = {"x-error-message": message} | ({"x-error-code": code} if code else {})
    return JSONResponse({"error": message}, status, headers)
