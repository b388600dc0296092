"""What one would write oneself: a FastAPI application that passes `/v1/videos` to an engine and keeps nothing.

python benchmarks/gateway_bare.py PORT http://127.0.0.1:8001/v1
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

KEPT_HEADERS = ("content-type", "content-length")


def make_app(upstream: str) -> FastAPI:
    """Return the application. upstream: the engine's address, with its /v1."""

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[None]:
        async with httpx2.AsyncClient(timeout=60) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=opened)

    def headers_of(request: Request | httpx2.Response) -> dict[str, str]:
        return {name: request.headers[name] for name in KEPT_HEADERS if name in request.headers}

    async def passed(request: Request, path: str) -> Response:
        client: httpx2.AsyncClient = request.app.state.client
        reply = await client.request(
            request.method, upstream + path, content=await request.body(), headers=headers_of(request)
        )
        return Response(reply.content, reply.status_code, headers_of(reply))

    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/videos")
    async def create(request: Request) -> Response:
        return await passed(request, "/videos")

    @app.get("/v1/videos")
    async def listed(request: Request) -> Response:
        return await passed(request, "/videos")

    @app.get("/v1/videos/{video_id}")
    async def retrieve(request: Request, video_id: str) -> Response:
        return await passed(request, f"/videos/{video_id}")

    @app.get("/v1/videos/{video_id}/content")
    async def content(request: Request, video_id: str) -> Response:
        client: httpx2.AsyncClient = request.app.state.client
        reply = await client.send(client.build_request("GET", f"{upstream}/videos/{video_id}/content"), stream=True)

        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in reply.aiter_raw():
                    yield piece
            finally:
                await reply.aclose()

        return StreamingResponse(pieces(), reply.status_code, headers_of(reply))

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[2]), port=int(sys.argv[1]), access_log=False, log_level="error")
