"""One client at work, in a process of its own, so that its memory and its event loop are its own.

    python benchmarks/remote_caller.py '{"client": "cinelet", "port": 1, "warm_port": 2, "count": 14, "careful": false}'

Prints what it measured as JSON. client: "cinelet" or "huggingface_hub". warm_port: of hosts at which one video is made
before, so that all is imported. careful: with what belongs around a client: the probe that cinelet's service makes of
each file, and a loop of 3 tries around the stock client, which repeats nothing itself.
"""

from __future__ import annotations

import asyncio
import filecmp
import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fake_providers import Wire

LIMIT_SECONDS = 400
JOB_SECONDS = 4.0
TICK_SECONDS = 0.005
TRIES = 3
"""Of whoever uses the stock client and repeats what failed."""
PROMPT = "a red circle moving left"

Generate = Callable[[Path], Awaitable[None]]


@asynccontextmanager
async def cinelet_client(wire: Wire) -> AsyncIterator[Generate]:
    """Give a function that makes a video as the service does: with retries where they are safe."""
    from random import Random

    from cinelet.backends.huggingface import HuggingFaceBackend
    from cinelet.clock import SystemClock
    from cinelet.domain.backend import Context
    from cinelet.domain.request import Task, VideoRequest
    from cinelet.resilience.budget import RetryBudgets
    from cinelet.resilience.retry import RetryBackend
    from cinelet.transport.client import Timeouts, make_client
    from tests.fake_providers import HF_TOKEN, T2V_MODEL

    # The pool of connections is the one that the client has in real life; so below.
    pool = make_client(timeouts=Timeouts())._transport  # noqa: SLF001
    backend = RetryBackend(
        HuggingFaceBackend(
            token=HF_TOKEN, transport=wire.transport(pool), resolve=wire.resolve, max_video_bytes=1_000_000_000
        ),
        key=lambda _model: "fal-ai",
        budgets=RetryBudgets(),
        clock=SystemClock(),
        random=Random(),
    )
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt=PROMPT, model=f"hf:{T2V_MODEL}:fal-ai")

    async def generate(folder: Path) -> None:
        video = await backend.generate(request, Context(folder, deadline_seconds=LIMIT_SECONDS))
        video.path.rename(folder / "video.mp4")

    yield generate
    await backend.aclose()


@asynccontextmanager
async def stock_client(wire: Wire) -> AsyncIterator[Generate]:
    """Give a function that makes a video with `AsyncInferenceClient`, and writes what it returns to a file."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.inference._providers._common import _fetch_inference_provider_mapping

    from tests.fake_providers import HF_TOKEN, T2V_MODEL

    def make_client() -> httpx2.Client:
        pool = httpx2.Client()._transport  # noqa: SLF001
        return httpx2.Client(transport=wire.sync_transport(pool), follow_redirects=True, timeout=None)

    def make_async_client() -> httpx2.AsyncClient:
        pool = httpx2.AsyncClient()._transport  # noqa: SLF001
        return httpx2.AsyncClient(transport=wire.transport(pool), follow_redirects=True, timeout=None)

    # The mapping is asked for with the machine's token, whatever the client was given.
    os.environ["HF_TOKEN"] = HF_TOKEN
    huggingface_hub.set_client_factory(make_client)
    huggingface_hub.set_async_client_factory(make_async_client)
    _fetch_inference_provider_mapping.cache_clear()
    async with huggingface_hub.AsyncInferenceClient(provider="fal-ai", token=HF_TOKEN) as client:

        async def generate(folder: Path) -> None:
            (folder / "video.mp4").write_bytes(await client.text_to_video(PROMPT, model=T2V_MODEL))

        yield generate
    huggingface_hub.close_session()


@asynccontextmanager
async def least_client(wire: Wire) -> AsyncIterator[Generate]:
    """Give a function that sends only what no client can do without, and knows when the job will be done."""
    import httpx2

    from tests.fake_providers import HF_TOKEN

    app = "https://router.huggingface.co/fal-ai/fal-ai/wan"
    options: dict[str, Any] = {"params": {"_subdomain": "queue"}, "headers": {"authorization": f"Bearer {HF_TOKEN}"}}
    pool = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_keepalive_connections=8))
    async with httpx2.AsyncClient(transport=wire.transport(pool), timeout=LIMIT_SECONDS) as client:
        gate = asyncio.Semaphore(8)

        async def exchange(method: str, url: str, **more: Any) -> httpx2.Response:
            async with gate:
                return await client.request(method, url, **more)

        async def generate(folder: Path) -> None:
            job = (await exchange("POST", f"{app}/v2.2-a14b/text-to-video", json={"prompt": PROMPT}, **options)).json()
            url = f"{app}/requests/{job['request_id']}"
            await asyncio.sleep(JOB_SECONDS)
            while (await exchange("GET", f"{url}/status", **options)).json()["status"] != "COMPLETED":  # noqa: ASYNC110
                await asyncio.sleep(TICK_SECONDS)
            video_url = (await exchange("GET", url, **options)).json()["video"]["url"]
            (folder / "video.mp4").write_bytes((await exchange("GET", video_url)).content)

        yield generate


CLIENTS: dict[str, Callable[[Wire], Any]] = {
    "cinelet": cinelet_client,
    "huggingface_hub": stock_client,
    "the least": least_client,
}


async def measure(specification: dict[str, Any]) -> dict[str, Any]:
    """Make `count` videos at once."""
    from tests.fake_providers import Wire

    make = CLIENTS[specification["client"]]
    async with asyncio.timeout(LIMIT_SECONDS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if specification["warm_port"]:
                async with make(Wire(specification["warm_port"])) as generate:
                    await generate(_new(folder / "warm"))
            folders = [_new(folder / str(number)) for number in range(specification["count"])]
            async with make(Wire(specification["port"])) as generate:
                around = CARE[specification["client"]] if specification["careful"] else _as_it_is
                return await _measured(around(generate), folders)


async def _measured(generate: Generate, folders: list[Path]) -> dict[str, Any]:
    lags: list[float] = []
    gc.collect()
    gc.freeze()  # as a service does that has started: what is imported is looked through no more
    ticker = asyncio.ensure_future(_tick(lags))
    peak_before, cpu_before, began = _peak_bytes(), time.process_time(), time.perf_counter()
    outcomes = await asyncio.gather(*map(generate, folders), return_exceptions=True)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_before
    ticker.cancel()
    with suppress(asyncio.CancelledError):
        await ticker
    errors = [type(outcome).__name__ for outcome in outcomes if outcome is not None]
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "max_lag_seconds": max(lags, default=0.0),
        "peak_growth_bytes": _peak_bytes() - peak_before,
        "errors": errors,
        "is_video": _are_videos([folder / "video.mp4" for folder in folders]),
    }


async def _tick(lags: list[float]) -> None:
    """Write down how late each tick is: so long did somebody keep the event loop for himself."""
    while True:
        due = time.perf_counter() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        lags.append(time.perf_counter() - due)


def _as_it_is(generate: Generate) -> Generate:
    return generate


def _probed(generate: Generate) -> Generate:
    """Look at the file in a child process, as the service does with every file."""
    from cinelet.media.probe import probe

    async def generate_and_probe(folder: Path) -> None:
        await generate(folder)
        await asyncio.to_thread(probe, folder / "video.mp4")

    return generate_and_probe


def _repeated(generate: Generate) -> Generate:
    """Repeat what failed, as one would write it."""

    async def generate_until_it_works(folder: Path) -> None:
        for left in reversed(range(TRIES)):
            try:
                return await generate(folder)
            except Exception:
                if not left:
                    raise
        return None

    return generate_until_it_works


CARE: dict[str, Callable[[Generate], Generate]] = {"cinelet": _probed, "huggingface_hub": _repeated}


def _are_videos(paths: Sequence[Path]) -> list[bool]:
    """Probe each file; a file that is equal to the one before it is what that one was."""
    from cinelet.domain.errors import CineletError
    from cinelet.media.probe import probe

    def is_video(path: Path) -> bool:
        try:
            probe(path)
        except (CineletError, OSError):
            return False
        return True

    found: list[bool] = []
    for before, path in zip((None, *paths), paths, strict=False):
        known = before is not None and before.exists() and path.exists() and filecmp.cmp(before, path, shallow=False)
        found.append(found[-1] if known else is_video(path))
    return found


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    print(json.dumps(asyncio.run(measure(json.loads(sys.argv[1])))))
