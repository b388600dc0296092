"""The gallery: what was made, found again, looked at by pointing, chosen, deleted and brought back."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import httpx2
from playwright.sync_api import Locator, Page, Route, expect

from tests.journeys.page.conftest import made
from tests.journeys.service_process import ServiceProcess, until

Opened = Callable[..., Page]
NUMBERS = itertools.count(1)


def prompt_of_its_own() -> str:
    """Return a prompt that no other test of this file has."""
    return f"a red circle moving left, take {next(NUMBERS)}."


def tile(page: Page, prompt: str) -> Locator:
    return page.get_by_role("listitem").filter(has_text=prompt)


def reel_place(page: Page) -> str:
    place: str = page.locator(".reel").evaluate("reel => getComputedStyle(reel).backgroundPosition")
    return place


def test_a_card_says_what_it_is(opened: Opened, client: httpx2.Client) -> None:
    prompt = prompt_of_its_own()
    one = made(client, prompt)
    card = tile(opened("gallery"), prompt)
    for words in ("Done", "embedded", re.compile("just now|ago")):
        expect(card).to_contain_text(words)
    expect(card.locator("img")).to_be_visible()
    width = card.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert width == one["result"]["thumbnail"]["width"]
    card.get_by_role("link").click()
    expect(card.page).to_have_url(f"{card.page.url.partition('#')[0]}#/generation/{one['id']}")


def test_a_picture_plays_while_it_is_pointed_at_or_has_the_focus(opened: Opened, client: httpx2.Client) -> None:
    prompt = prompt_of_its_own()
    made(client, prompt)
    page = opened("gallery")
    expect(tile(page, prompt).locator("img")).to_be_visible()
    expect(page.locator(".reel")).to_have_count(0)
    tile(page, prompt).hover()
    expect(page.locator(".reel")).to_be_visible()
    first = reel_place(page)
    until(lambda: reel_place(page) != first)
    page.mouse.move(0, 0)
    expect(page.locator(".reel")).to_have_count(0)
    tile(page, prompt).get_by_role("link").focus()
    expect(page.locator(".reel")).to_be_visible()


def test_nothing_moves_for_who_wants_no_motion(
    make_page: Callable[..., Page], service: ServiceProcess, client: httpx2.Client
) -> None:
    prompt = prompt_of_its_own()
    made(client, prompt)
    page = make_page(reduced_motion="reduce")
    page.goto(f"{service.url}/#/gallery")
    tile(page, prompt).hover()
    expect(tile(page, prompt).get_by_role("button", name="Delete")).to_be_visible()
    expect(page.locator(".reel")).to_have_count(0)


def test_what_is_new_appears_at_the_top_and_shows_how_far_it_is(opened: Opened, client: httpx2.Client) -> None:
    page = opened("gallery")
    prompt = prompt_of_its_own()
    asked = client.post("/v1/text-to-video", json={"prompt": prompt, "model": "patient:x"}).json()
    card = page.get_by_role("listitem").first
    expect(card).to_contain_text(prompt)
    expect(card).to_contain_text("Drawing, step")
    until(lambda: page.evaluate("document.querySelector('.tile progress')?.value > 0.02"))
    expect(card.get_by_role("button", name="Delete")).to_have_count(0)
    client.post(f"{asked['links']['self']}/cancel")
    expect(card.locator(".badge")).to_have_text("Cancelled")
    expect(card.get_by_role("button", name="Delete")).to_have_count(1)


def test_one_that_failed_says_why(opened: Opened, client: httpx2.Client) -> None:
    prompt = prompt_of_its_own()
    made(client, prompt, model="broken:x")
    expect(tile(opened("gallery"), prompt)).to_contain_text("The lens is cracked")


def test_the_filters_are_in_the_address_and_lead_back_to_all(opened: Opened, client: httpx2.Client) -> None:
    one, other = prompt_of_its_own(), f"{prompt_of_its_own()} Ünder WATER"
    made(client, one)
    made(client, other)
    page = opened("gallery")
    expect(tile(page, one)).to_be_visible()
    page.get_by_role("searchbox", name="Words of the prompt").fill("ünder water")
    expect(page.get_by_role("listitem")).to_have_count(1)
    expect(tile(page, other)).to_be_visible()
    assert "text=%C3%BCnder+water" in page.url
    page.get_by_label("State").select_option("failed")
    expect(page.get_by_role("heading", name="Nothing fits")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Nothing fits")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("ünder water")
    page.get_by_role("button", name="Show all").click()
    expect(tile(page, one)).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("")
    assert page.url.endswith("#/gallery")
    page.get_by_label("Model").select_option("embedded")
    expect(tile(page, one)).to_be_visible()
    assert page.url.endswith("#/gallery?model=embedded")


def test_what_does_not_fit_the_filter_does_not_appear(opened: Opened, client: httpx2.Client) -> None:
    prompt = prompt_of_its_own()
    page = opened("gallery?text=take")
    made(client, f"another {prompt}")
    expect(tile(page, f"another {prompt}")).to_be_visible()
    made(client, "a blue square without that word")
    made(client, prompt)
    expect(tile(page, prompt)).to_have_count(2)
    expect(tile(page, "without that word")).to_have_count(0)


def test_one_that_is_deleted_can_be_brought_back(opened: Opened, client: httpx2.Client) -> None:
    prompt, beside = prompt_of_its_own(), prompt_of_its_own()
    made(client, beside)
    one = made(client, prompt)
    page = opened("gallery")
    tile(page, prompt).hover()
    tile(page, prompt).get_by_role("button", name="Delete").click()
    expect(tile(page, prompt)).to_have_count(0)
    # The keyboard goes on beside it, and not at the top of the page again.
    expect(tile(page, beside).get_by_role("link")).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    expect(tile(page, prompt)).to_be_visible()
    assert client.get(one["links"]["self"]).status_code == 200
    tile(page, prompt).get_by_role("button", name="Delete").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    # After the time to undo.
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    expect(tile(page, prompt)).to_have_count(0)
    assert client.get(one["links"]["self"]).status_code == 404
    expect(tile(page, beside)).to_be_visible()


def test_one_that_somebody_else_deletes_goes_when_it_is_read_again(opened: Opened, client: httpx2.Client) -> None:
    prompt = prompt_of_its_own()
    one = made(client, prompt)
    page = opened("gallery")
    expect(tile(page, prompt)).to_be_visible()
    client.delete(one["links"]["self"])
    page.evaluate("import('/web/live.js').then(({ epoch }) => { epoch.value += 1; })")
    expect(tile(page, prompt)).to_have_count(0)


def test_two_to_four_are_chosen_to_be_compared(opened: Opened, client: httpx2.Client) -> None:
    prompts = [prompt_of_its_own() for _ in range(5)]
    ids = [made(client, prompt)["id"] for prompt in prompts]
    page = opened("gallery")
    boxes = [page.get_by_role("checkbox", name=f"Compare: {prompt}") for prompt in prompts]
    bar = page.get_by_role("region", name="Chosen to be compared")
    boxes[0].check()
    expect(bar).to_contain_text("choose one more")
    for box in boxes[1:4]:
        box.check()
    expect(boxes[4]).to_be_disabled()
    boxes[3].uncheck()
    expect(boxes[4]).to_be_enabled()
    bar.get_by_role("link", name="Compare 3").click()
    expect(page.get_by_role("heading", name="Compare", exact=True)).to_be_visible()
    assert page.url.endswith(f"ids={'%2C'.join(ids[:3])}")
    page.go_back()
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_have_count(0)


def test_who_may_only_look_sees_no_button_to_delete(
    make_page: Callable[..., Page], service: ServiceProcess, client: httpx2.Client
) -> None:
    prompt = prompt_of_its_own()
    made(client, prompt)
    page = make_page()

    def reads(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "role": "read"})

    page.route("**/v1/me", reads)
    page.goto(f"{service.url}/#/gallery")
    expect(tile(page, prompt)).to_be_visible()
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)


def test_an_empty_gallery_says_what_to_do(make_page: Callable[..., Page], service: ServiceProcess) -> None:
    page = make_page()
    page.route("**/v1/generations?*", lambda route: route.fulfill(json={"data": [], "next": None}))
    page.goto(f"{service.url}/#/gallery")
    expect(page.get_by_role("heading", name="Nothing was made yet")).to_be_visible()
    page.get_by_role("link", name="Make a video").click()
    expect(page.get_by_role("heading", name="Make a video")).to_be_visible()


def test_a_service_that_is_away_is_asked_again(
    make_page: Callable[..., Page], service: ServiceProcess, client: httpx2.Client
) -> None:
    prompt = prompt_of_its_own()
    made(client, prompt)
    page = make_page()
    page.route("**/v1/generations?*", lambda route: route.abort())
    # Else it is asked by itself as soon as the events are heard.
    page.route("**/v1/events", lambda route: route.abort())
    page.goto(f"{service.url}/#/gallery")
    expect(page.get_by_role("heading", name="The service is away")).to_be_visible()
    page.unroute("**/v1/generations?*")
    page.get_by_role("button", name="Try again").click()
    expect(tile(page, prompt)).to_be_visible()


def test_what_was_missed_while_nobody_listened_is_there_afterwards(
    make_page: Callable[..., Page], service: ServiceProcess, client: httpx2.Client
) -> None:
    prompt, before = prompt_of_its_own(), prompt_of_its_own()
    made(client, before)
    page = make_page()
    page.route("**/v1/events", lambda route: route.abort())
    page.goto(f"{service.url}/#/gallery")
    expect(tile(page, before)).to_be_visible()
    expect(page.get_by_text("The service does not answer")).to_be_visible()
    made(client, prompt)
    page.unroute("**/v1/events")
    expect(tile(page, prompt)).to_contain_text("Done")
