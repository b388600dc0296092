"""The people of `soak.py`: each does one thing after another with the service, as its clients would."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

FINAL = {"completed", "failed", "cancelled"}
PAUSE_SECONDS = 0.4
"""The mean, between two things that one of them does."""
PATIENCE_SECONDS = 120.0
KEPT = 0.3
"""The share of videos that nobody deletes."""


@dataclass(slots=True)
class Ledger:
    """What the people know: the generations that were promised them, what was wrong, and how often they did what."""

    promised: dict[str, str] = field(default_factory=dict)
    """Prompts by id."""
    deleted: set[str] = field(default_factory=set)
    hooked: set[str] = field(default_factory=set)
    """Of whose end the receiver has to hear."""
    wrong: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    """Requests without an answer, and answers of 5xx: what they were told."""


class People:
    """Does things at random until the end. engine: address of the other engine; its root takes webhooks."""

    def __init__(self, client: httpx2.AsyncClient, *, engine: str, random: Random, local_share: float) -> None:
        self.ledger = Ledger()
        self._client = client
        self._model = f"openai:soak@{engine}/v1"
        self._hook = f"{engine}/hook"
        self._random = random
        self._numbers = itertools.count()
        self._acts: Mapping[Callable[[], Awaitable[None]], float] = {
            self._watch_and_fetch: 6,
            self._twins: 2,
            self._from_an_image: 2,
            self._wait_for_it: 2,
            self._as_openai: 3,
            self._here: local_share,
            self._batch: 1,
            self._change_of_mind: 2,
            self._hang_up: 2,
            self._look_around: 6,
            self._nonsense: 3,
        }

    async def live(self, end: Callable[[], bool]) -> None:
        """Do one thing after another."""
        acts, weights = list(self._acts), list(self._acts.values())
        while not end():
            (act,) = self._random.choices(acts, weights)
            name = act.__name__.strip("_")
            self.ledger.done[name] += 1
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await act()
            except (httpx2.TransportError, Unavailable) as error:
                # A service that is away is a fault of the soak's own; what it had promised it must keep.
                self.ledger.unanswered[f"{name}: {error!r:.80}"] += 1
            except TimeoutError:
                await self._too_long(name)
            except Exception as error:  # noqa: BLE001  (a reply of another shape than is promised is wrong as well)
                self.ledger.wrong.append(f"{name}: {error!r:.300}")
            await asyncio.sleep(self._random.expovariate(1 / PAUSE_SECONDS))

    async def _too_long(self, name: str) -> None:
        """Note what became of what somebody has waited for too long: whether it had ended, and he was not told."""
        newest = list(self.ledger.promised)[-20 * len(self._acts) :]
        states: Counter[str] = Counter()
        for generation in newest:
            reply = await self._client.get(f"/v1/generations/{generation}")
            if reply.status_code == 200 and time.time() - reply.json()["created_at"] > PATIENCE_SECONDS:
                shown = reply.json()
                if shown["finished_at"] is None or shown["finished_at"] - shown["created_at"] > PATIENCE_SECONDS / 2:
                    states[f"{generation} {shown['state']} attempt {len(shown['attempts'])}"] += 1
        self.ledger.wrong.append(f"{name} took longer than {PATIENCE_SECONDS:g} s; slow were {dict(states) or 'none'}")

    async def _watch_and_fetch(self) -> None:
        made = await self._ask(webhook_url=self._hook)
        self.ledger.hooked.add(made["id"])
        ended = await self._ended(made)
        await self._fetched(ended)
        if self._random.random() > KEPT:
            await self._delete(ended)

    async def _twins(self) -> None:
        prompt, seed = self._prompt("twins"), self._random.randrange(2**31)
        pair = await asyncio.gather(*(self._ask(prompt=prompt, seed=seed) for _ in range(2)))
        ended = await asyncio.gather(*(self._ended(made) for made in pair))
        files = {one["result"]["sha256"] for one in ended if one["state"] == "completed"}
        require(len(files) <= 1, f"two of the same seed are different: {files}")

    async def _from_an_image(self) -> None:
        prompt = self._prompt("image")
        form = {"prompt": prompt, "model": self._model, "duration": "1", "fallback": "false"}
        picture = await asyncio.to_thread(_picture, self._random.randrange(2**24))
        reply = await self._send("POST", "/v1/image-to-video", data=form, files={"image": ("a.png", picture)})
        require(reply.status_code == 202, f"an image: {reply.status_code} {reply.text[:200]}")
        await self._fetched(await self._ended(self._promised(reply.json(), prompt)))

    async def _wait_for_it(self) -> None:
        prompt = self._prompt("wait")
        body = self._body(prompt=prompt)
        reply = await self._send("POST", "/v1/text-to-video", json=body, headers={"prefer": "wait=4"})
        if reply.status_code == 202:
            await self._ended(self._promised(reply.json(), prompt))
        elif reply.headers["content-type"].startswith("video/"):
            require(reply.content[4:8] == b"ftyp", "a video that is none")

    async def _as_openai(self) -> None:
        prompt = self._prompt("openai")
        body = {"prompt": prompt, "model": self._model, "seconds": "1", "fallback": False}
        reply = await self._send("POST", "/v1/videos", json=body)
        require(reply.status_code == 200, f"/v1/videos: {reply.status_code} {reply.text[:200]}")
        video = reply.json()
        self.ledger.promised[video["id"]] = prompt
        while video["status"] not in FINAL:
            await asyncio.sleep(0.3)
            video = (await self._send("GET", f"/v1/videos/{video['id']}")).json()
        if video["status"] == "completed":
            content = await self._send("GET", f"/v1/videos/{video['id']}/content")
            require(content.content[4:8] == b"ftyp", "a video that is none")
            await self._send("DELETE", f"/v1/videos/{video['id']}")
            self.ledger.deleted.add(video["id"])

    async def _here(self) -> None:
        made = await self._ask(model="embedded", prompt="a red circle", num_inference_steps=2)
        await self._fetched(await self._ended(made))

    async def _batch(self) -> None:
        prompts = [self._prompt("batch") for _ in range(5)]
        reply = await self._send("POST", "/v1/batches", json={"requests": [self._body(prompt=one) for one in prompts]})
        require(reply.status_code in {200, 201, 202}, f"a batch: {reply.status_code} {reply.text[:200]}")
        batch = reply.json()
        while batch["state"] not in FINAL:
            await asyncio.sleep(0.5)
            batch = (await self._send("GET", f"/v1/batches/{batch['id']}")).json()
        page = (await self._send("GET", "/v1/generations", params={"batch": batch["id"], "limit": 100})).json()
        require(len(page["data"]) == len(prompts), f"{len(page['data'])} generations of {len(prompts)} lines")
        for one in page["data"]:
            self.ledger.promised[one["id"]] = one["request"]["prompt"]

    async def _change_of_mind(self) -> None:
        made = await self._ask()
        await asyncio.sleep(self._random.uniform(0, 1.5))
        await self._send("POST", f"{made['links']['self']}/cancel")
        await self._ended(made)

    async def _hang_up(self) -> None:
        made = await self._ask()
        path = self._random.choice(["/v1/events", made["links"]["events"]])
        with_timeout = httpx2.Timeout(10, read=self._random.uniform(0.05, 0.5))
        try:
            async with self._client.stream("GET", path, timeout=with_timeout) as reply:
                await anext(reply.aiter_raw())
        except (httpx2.ReadTimeout, StopAsyncIteration):
            return

    async def _look_around(self) -> None:
        path = self._random.choice(
            [
                "/", "/healthz", "/readyz", "/v1/models", "/v1/models/embedded", "/v1/me", "/v1/admin/workers",
                "/v1/admin/queue", "/v1/admin/failures", "/v1/generations?limit=50", "/v1/generations?state=failed",
                "/v1/generations?text=twins", "/v1/videos?limit=10", "/openapi.json", "/metrics", "/v1/stats",
            ]
        )  # fmt: skip
        reply = await self._send("GET", path)
        require(reply.status_code in {200, 503}, f"{path}: {reply.status_code}")

    async def _nonsense(self) -> None:
        bodies: list[Any] = [
            {"prompt": ""},
            {"prompt": "x", "duration": -1},
            {"prompt": "x", "colour": "red"},
            {"prompt": "x", "model": "no such model"},
            {"prompt": "x" * 100_000},
            [1, 2],
        ]
        reply = await self._send("POST", "/v1/text-to-video", json=self._random.choice(bodies))
        require(400 <= reply.status_code < 500, f"nonsense: {reply.status_code}")
        reply = await self._send("GET", "/v1/generations/gen_aaaaaaaaaaaaaaaaaaaaaaaaaa")
        require(reply.status_code == 404, f"a generation that is none: {reply.status_code}")

    async def _ask(self, **fields: Any) -> dict[str, Any]:
        body = self._body(**fields)
        reply = await self._send("POST", "/v1/text-to-video", json=body)
        require(reply.status_code == 202, f"a request: {reply.status_code} {reply.text[:200]}")
        return self._promised(reply.json(), body["prompt"])

    def _promised(self, made: dict[str, Any], prompt: str) -> dict[str, Any]:
        self.ledger.promised[made["id"]] = prompt
        return made

    def _body(self, **fields: Any) -> dict[str, Any]:
        # No other model: then each is paid at most once.
        common = {"model": self._model, "duration": 1, "fallback": False}
        return {**common, "prompt": fields.get("prompt") or self._prompt("one"), **fields}

    def _prompt(self, kind: str) -> str:
        return f"soak {kind} {next(self._numbers)}"

    async def _ended(self, made: dict[str, Any]) -> dict[str, Any]:
        """Follow the events of a generation to its end, connecting again where they stop before."""
        seen = ""
        while True:
            with suppress(httpx2.TransportError):
                headers = {"last-event-id": seen or "0"}
                async with self._client.stream("GET", made["links"]["events"], headers=headers) as reply:
                    async for event in httpx2.EventSource(reply):
                        seen = event.id or seen
                        if event.event in FINAL:
                            return await self._shown(made)
            await asyncio.sleep(0.2)

    async def _shown(self, made: dict[str, Any]) -> dict[str, Any]:
        reply = await self._send("GET", made["links"]["self"])
        require(reply.status_code == 200, f"{made['id']} is not there: {reply.status_code}")
        shown: dict[str, Any] = reply.json()
        require(shown["state"] in FINAL, f"{made['id']} had ended and is {shown['state']}")
        return shown

    async def _fetched(self, ended: dict[str, Any]) -> None:
        """Fetch the video in two halves, and a picture of it."""
        if ended["state"] != "completed":
            return
        size, where = ended["result"]["video_size"], ended["links"]["video"]
        halves = [f"bytes=0-{size // 2 - 1}", f"bytes={size // 2}-"]
        parts = [await self._send("GET", where, headers={"range": half}) for half in halves]
        content = b"".join(part.content for part in parts)
        require(hashlib.sha256(content).hexdigest() == ended["result"]["sha256"], "another file than was promised")
        picture = await self._send("GET", ended["links"]["thumbnail"])
        require(picture.status_code == 200, f"no picture: {picture.status_code}")

    async def _delete(self, ended: dict[str, Any]) -> None:
        await asyncio.sleep(self._random.uniform(0, 2))
        reply = await self._send("DELETE", ended["links"]["self"])
        require(reply.status_code == 204, f"a delete: {reply.status_code}")
        self.ledger.deleted.add(ended["id"])

    async def _send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        reply = await self._client.request(method, path, **options)
        if reply.status_code >= 500:
            raise Unavailable(f"{reply.status_code} {reply.text[:100]}")
        return reply


class Wrong(Exception):  # noqa: N818  (it is of the service, not of this program)
    """Something that a service must not do."""


class Unavailable(Exception):  # noqa: N818
    """A reply of 5xx."""


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    """Raise `Wrong` where it does not hold."""
    if not holds:
        raise Wrong(otherwise)


def _picture(colour: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 48), (colour >> 16, colour >> 8 & 255, colour & 255)).save(file, "PNG")
    return file.getvalue()
