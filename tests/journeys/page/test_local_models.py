"""What the page has for models on this machine: their LoRAs, and pictures of what they are making."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Request, Route, expect

from tests.journeys.page.test_make import ask, panel

Opened = Callable[..., Page]


def test_a_picture_of_what_is_made_is_there_until_it_is_made(opened: Opened) -> None:
    page = opened()
    ask(page, "a gull", model="patient:x")
    picture = panel(page).get_by_alt_text("What it looks like so far")
    expect(picture).to_be_visible()
    assert "/preview?number=1" in (picture.get_attribute("src") or "")
    expect(picture).to_have_js_property("naturalWidth", 40)
    panel(page).get_by_role("button", name="Cancel").click()
    expect(panel(page).get_by_role("heading", name="Cancelled")).to_be_visible()
    expect(picture).to_have_count(0)


def test_loras_and_an_upscaler_are_sent_as_they_were_written(opened: Opened) -> None:
    page = opened()
    sent: list[Any] = []

    def taken(route: Route, request: Request) -> None:
        sent.append(json.loads(request.post_data or ""))
        route.fulfill(status=422, content_type="application/json", body=json.dumps(REFUSED))

    page.route("**/v1/text-to-video", taken)
    page.get_by_text("More parameters").click()
    loras = page.get_by_label("LoRAs")
    loras.press_sequentially("./my style.safetensors=0.\n")
    loras.press_sequentially("org/name=2.5")
    page.get_by_label("What should it show?").fill("a gull")
    page.get_by_role("button", name="Make video").click()
    expect(page.get_by_text("No such file")).to_be_visible()
    assert sent[0]["lora"] == [{"path": "./my style.safetensors", "scale": 0}, {"path": "org/name", "scale": 2.5}]
    expect(loras).to_have_value("./my style.safetensors=0.\norg/name=2.5")
    page.reload()
    page.get_by_text("More parameters").click()
    expect(page.get_by_label("LoRAs")).to_have_value("./my style.safetensors=0\norg/name=2.5")


REFUSED = {
    "error": {"code": "invalid_request", "message": "It is not there", "details": {"details": {"lora": "No such file"}}}
}
