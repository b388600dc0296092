"""The whole way of somebody who is new: made, watched, played, made again, compared, deleted."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
from playwright.sync_api import Page, expect

from tests.journeys.page.test_make import panel, require_playing

Opened = Callable[..., Page]

OWN_SERVICE = True


def test_from_an_example_to_two_videos_side_by_side_and_none(opened: Opened, client: httpx2.Client) -> None:
    page = opened()
    page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    expect(panel(page).get_by_role("progressbar")).to_be_visible()
    require_playing(page)
    first = page.get_by_role("link", name="Everything about it").get_attribute("href")
    page.get_by_role("button", name="Vary the seed").click()
    expect(page.get_by_role("link", name="Everything about it")).not_to_have_attribute("href", str(first))
    require_playing(page)
    page.get_by_role("navigation").get_by_role("link", name="Gallery").click()
    cards = page.locator(".tile")
    expect(cards).to_have_count(2)
    for box in page.locator(".tile input[type=checkbox]").all():
        box.check()
    page.get_by_role("link", name="Compare 2").click()
    expect(page.locator("video")).to_have_count(2)
    expect(page.get_by_role("rowheader", name="Seed")).to_be_visible()
    for _ in range(2):
        page.get_by_role("navigation").get_by_role("link", name="Gallery").click()
        cards.first.get_by_role("link").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_text("The video is deleted.").first).to_be_visible()
    expect(cards).to_have_count(0)
    # A tab that is closed meant it.
    page.goto("about:blank")
    for _ in range(100):
        if not client.get("/v1/generations").json()["data"]:
            return
        page.wait_for_timeout(100)
    assert client.get("/v1/generations").json()["data"] == []
