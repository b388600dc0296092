"""A browser's own `EventSource` is a client of the service like any other."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
from playwright.sync_api import Page

from tests.journeys.page.conftest import made

FOLLOW = """(address) => new Promise((resolve, reject) => {
    const source = new EventSource(address);
    const heard = [];
    source.addEventListener("progress", (event) => heard.push(JSON.parse(event.data).stage));
    source.addEventListener("completed", (event) => {
        source.close();
        resolve({ heard, video: JSON.parse(event.data).generation.links.video });
    });
    source.addEventListener("failed", (event) => reject(new Error(event.data)));
})"""


def test_a_browsers_own_event_source_follows_a_generation_to_its_video(
    opened: Callable[..., Page], client: httpx2.Client
) -> None:
    body = {"prompt": "a red circle moving left", "duration": 1}
    sent = client.post("/v1/text-to-video", json=body).json()
    followed = opened().evaluate(FOLLOW, sent["links"]["events"])
    assert "denoising" in followed["heard"]
    assert client.get(followed["video"]).content[4:8] == b"ftyp"
    # One that has ended is told whole to whoever comes later.
    ended = made(client, duration=1)
    assert opened().evaluate(FOLLOW, ended["links"]["events"])["video"] == ended["links"]["video"]
