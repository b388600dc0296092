"""Whoever has never seen the project makes a video, watches it being made, and changes it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx2
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from tests.journeys.page.conftest import PHONE, wait_until
from tests.journeys.service_process import ServiceProcess

Opened = Callable[..., Page]
INJECTION = '"><img src=x onerror="window.caught=1"><script>window.caught=1</script>{{7*7}}'


def ask(page: Page, prompt: str, *, model: str | None = None) -> None:
    """Fill in the form and press the button; the model is named as one of the Hub would be."""
    if model is not None:
        page.get_by_label("Model", exact=True).select_option(label="Another model…")
        page.get_by_label("Model reference").fill(model)
        page.get_by_label("Model reference").blur()
        expect(page.get_by_text("Runs on")).to_be_visible()
    page.get_by_label("What should it show?").fill(prompt)
    page.get_by_role("button", name="Make video").click()


def panel(page: Page) -> Locator:
    return page.get_by_role("region", name="Your video").get_by_role("article")


def require_playing(page: Page) -> None:
    """Fail unless the video of the panel plays: its time moves on by itself."""
    video = panel(page).locator("video")
    video.wait_for()
    wait_until(page, "document.querySelector('video').currentTime > 0.2")
    assert video.evaluate("video => [video.videoWidth > 0, video.error, video.paused]") == [True, None, False]


def png(color: str = "navy", size: tuple[int, int] = (96, 64)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


DROP = """([selector, name, type, content]) => {
    const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type }));
    const target = document.querySelector(selector);
    for (const kind of ["dragover", "drop"])
        target.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
}"""


def drop(page: Page, content: bytes, *, name: str = "a.png", kind: str = "image/png") -> None:
    page.evaluate(DROP, [".image-input", name, kind, base64.b64encode(content).decode()])


def test_a_click_on_an_example_makes_a_video_that_plays(opened: Opened) -> None:
    page = opened()
    chips = page.get_by_role("group", name="Examples").get_by_role("button")
    expect(chips.first).to_be_visible()
    prompt = chips.first.inner_text()
    chips.first.click()
    expect(page.get_by_label("What should it show?")).to_have_value(prompt)
    require_playing(page)
    expect(page).to_have_title(f"✓ {prompt[:40]} – cinelet")


def test_the_keyboard_alone_makes_a_video(opened: Opened) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    page.get_by_label("What should it show?").focus()
    page.keyboard.type("a blue square growing")
    page.keyboard.press("Control+Enter")
    require_playing(page)


def test_stage_steps_and_progress_are_seen_while_it_is_made(opened: Opened) -> None:
    page = opened()
    ask(page, "a gull", model="patient:x")
    working = panel(page)
    expect(working.get_by_role("heading", name="Drawing, step")).to_be_visible()
    wait_until(page, "document.querySelector('progress').value > 0.1")
    assert " % a gull – cinelet" in page.title()
    expect(working.get_by_text("more of drawing")).to_be_visible()
    expect(page.locator("[data-announcer]")).to_have_text("Drawing")
    working.get_by_role("button", name="Cancel").click()
    expect(working.get_by_role("heading", name="Cancelled")).to_be_visible()


def test_a_reload_in_the_middle_goes_on_where_it_was(opened: Opened, client: httpx2.Client) -> None:
    page = opened()
    ask(page, "a tern", model="patient:x")
    expect(panel(page).get_by_role("heading", name="Drawing, step")).to_be_visible()
    page.reload()
    expect(panel(page).get_by_role("heading", name="Drawing, step")).to_be_visible()
    expect(page.get_by_label("What should it show?")).to_have_value("a tern")
    assert len(client.get("/v1/generations", params={"model": "patient:x", "state": "in_progress"}).json()["data"]) == 1
    panel(page).get_by_role("button", name="Cancel").click()
    expect(panel(page).get_by_role("heading", name="Cancelled")).to_be_visible()


def test_what_waits_says_how_many_are_ahead(opened: Opened, client: httpx2.Client) -> None:
    body = {"prompt": "ahead", "duration": 6, "model": "embedded", "num_inference_steps": 100}
    ahead = [client.post("/v1/text-to-video", json=body).json()["links"]["self"] for _ in range(3)]
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    ask(page, "a red circle")
    expect(panel(page).get_by_role("heading", name="ahead")).to_be_visible()
    for where in ahead:
        client.post(f"{where}/cancel")
    require_playing(page)


def test_a_model_that_fails_shows_its_attempts_and_why(opened: Opened) -> None:
    page = opened()
    ask(page, "a gull", model="broken:x")
    failed = panel(page)
    expect(failed.get_by_role("heading", name="It could not be made")).to_be_visible()
    attempts = failed.get_by_role("list", name="Attempts")
    expect(attempts).to_contain_text("broken:x")
    expect(attempts).to_contain_text("The lens is cracked")


def test_an_answer_that_comes_late_does_not_take_back_what_has_ended(opened: Opened) -> None:
    page = opened()
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route(re.compile("/v1/generations/gen_[a-z0-9]+$"), hold_the_first)
    ask(page, "a gull", model="broken:x")
    failed = panel(page).get_by_role("heading", name="It could not be made")
    expect(failed).to_be_visible()
    ended = held[0].fetch().json()
    with page.expect_response(held[0].request.url):
        held[0].fulfill(json={**ended, "state": "in_progress", "stage": None, "error": None, "attempts": []})
    page.wait_for_timeout(300)
    expect(failed).to_be_visible()


def test_a_model_that_cannot_be_named_so_says_why_beside_its_field(opened: Opened) -> None:
    page = opened()
    page.get_by_label("Model", exact=True).select_option(label="Another model…")
    page.get_by_label("Model reference").fill("no such model")
    page.get_by_label("Model reference").blur()
    expect(page.get_by_role("alert").filter(has_text="is not a model reference")).to_be_visible()


def test_a_form_without_a_prompt_says_so_and_goes_there(opened: Opened) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    page.get_by_role("button", name="Make video").click()
    prompt = page.get_by_label("What should it show?")
    expect(prompt).to_be_focused()
    expect(prompt).to_have_attribute("aria-invalid", "true")


def test_the_form_offers_what_the_model_can_do(opened: Opened) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    expect(page.get_by_label("Duration")).to_have_attribute("max", "6")
    page.get_by_text("More parameters").click()
    expect(page.get_by_label("Steps")).to_have_value("20")
    expect(page.get_by_label("Frames a second").locator("option:checked")).to_have_text("8, the model's own")
    sizes = page.get_by_label("Size").locator("option").all_inner_texts()
    assert sizes[0] == "The model's own (192 × 192)"
    assert all(int(side) % 32 == 0 for size in sizes[1:-1] for side in size.partition(",")[0].split(" × "))


def test_the_dice_rolls_a_seed_that_is_used(opened: Opened, client: httpx2.Client) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    page.get_by_role("button", name="Roll a seed").click()
    seed = page.get_by_role("spinbutton", name="Seed").input_value()
    assert seed.isdigit()
    page.get_by_label("Duration").fill("1")
    ask(page, "a dice")
    require_playing(page)
    (newest,) = client.get("/v1/generations", params={"limit": 1}).json()["data"]
    assert (newest["result"]["seed"], newest["request"]["duration"]) == (int(seed), 1)


def test_the_time_it_takes_is_said_before_the_button_is_pressed(opened: Opened) -> None:
    page = opened()
    page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    require_playing(page)
    page.reload()
    expect(page.locator(".estimate")).to_contain_text("About")


def test_which_model_makes_it_can_be_left_to_what_was_measured_and_is_said(
    opened: Opened, client: httpx2.Client
) -> None:
    page = opened()
    page.get_by_label("Model", exact=True).select_option("auto")
    page.get_by_text("If several models can do it").click()
    page.get_by_label("Prefer").select_option(label="the fastest")
    expect(page.locator(".estimate")).to_contain_text("by embedded (fastest:")
    page.get_by_label("Most that it may cost").fill("0.5")
    expect(page.locator(".estimate")).to_contain_text("No model fits this request")
    page.get_by_label("Most that it may cost").fill("")
    page.get_by_label("Duration").fill("1")
    ask(page, "a square that somebody chooses for")
    require_playing(page)
    (newest,) = client.get("/v1/generations", params={"limit": 1}).json()["data"]
    assert (newest["requested_model"], newest["model"], newest["request"]["prefer"]) == ("auto", "embedded", "fastest")
    assert "max_cost" not in newest["request"]
    page.goto(page.url.partition("#")[0] + f"#/generation/{newest['id']}")
    expect(page.get_by_role("list", name="Attempts")).to_contain_text("fastest:")


def test_an_image_that_is_dropped_begins_the_video(opened: Opened, client: httpx2.Client) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    drop(page, png("red"), name="sunset.png")
    expect(page.get_by_alt_text("The image that the video begins with")).to_be_visible()
    page.get_by_label("Duration").fill("1")
    ask(page, "moving left")
    require_playing(page)
    (newest,) = client.get("/v1/generations", params={"limit": 1}).json()["data"]
    assert newest["request"]["task"] == "image-to-video"
    assert client.get(newest["links"]["image"]).content == png("red")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("or drop it here, or paste it")).to_be_visible()


def test_what_is_no_image_is_refused_before_it_is_sent(opened: Opened) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    drop(page, b"%PDF-", name="paper.pdf", kind="application/pdf")
    expect(page.get_by_role("alert")).to_have_text("paper.pdf is no PNG, JPEG or WebP image.")


def test_an_image_that_lies_about_itself_fails_with_what_it_is(opened: Opened) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    drop(page, b"GIF89a no png", name="a.png")
    ask(page, "moving left")
    expect(panel(page).get_by_text("it is a GIF image")).to_be_visible()


def test_the_last_frame_of_a_video_begins_the_next_one(opened: Opened, client: httpx2.Client) -> None:
    page = opened()
    page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    require_playing(page)
    page.get_by_role("button", name="Animate the last frame").click()
    expect(page.get_by_text("last-frame.png")).to_be_visible()
    page.get_by_label("Duration").fill("1")
    page.get_by_role("button", name="Make video").click()
    require_playing(page)
    (newest,) = client.get("/v1/generations", params={"limit": 1}).json()["data"]
    with Image.open(BytesIO(client.get(newest["links"]["image"]).content)) as image:
        assert (image.format, image.size) == ("PNG", (192, 192))
        # A frame of the video, and no empty canvas.
        assert image.getextrema() != tuple(((0, 0),) * len(image.getbands()))


def test_again_keeps_the_seed_and_varying_does_not(opened: Opened, client: httpx2.Client) -> None:
    page = opened()
    page.get_by_label("Duration").fill("1")
    page.get_by_role("button", name="Roll a seed").click()
    ask(page, "a green triangle moving up")
    require_playing(page)
    first = before = newest_of(client)
    for button in ("Again", "Vary the seed"):
        page.get_by_role("button", name=button).click()
        wait_until(page, "id => !document.querySelector('.panel-more a').href.includes(id)", before["id"])
        expect(panel(page).locator("video")).to_be_visible()
        made = newest_of(client)
        assert made["id"] != before["id"]
        same = button == "Again"
        assert (made["result"]["seed"] == first["result"]["seed"]) is same
        assert (made["result"]["sha256"] == first["result"]["sha256"]) is same
        before = made


def newest_of(client: httpx2.Client) -> dict[str, Any]:
    newest: dict[str, Any]
    (newest,) = client.get("/v1/generations", params={"limit": 1, "state": "completed"}).json()["data"]
    return newest


def test_scripts_in_prompts_and_file_names_stay_texts(opened: Opened, client: httpx2.Client) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    drop(page, png(), name=f"{INJECTION}.png")
    page.get_by_label("Duration").fill("1")
    ask(page, INJECTION)
    require_playing(page)
    expect(panel(page).get_by_text(INJECTION)).to_be_visible()
    (newest,) = client.get("/v1/generations", params={"limit": 1}).json()["data"]
    for view in (f"generation/{newest['id']}", "gallery"):
        opened(view)
        expect(page.get_by_text(INJECTION).first).to_be_visible()
    assert page.evaluate("window.caught") is None


@pytest.mark.parametrize("view", ["make", "gallery", "batch", "compare", "admin"])
def test_a_phone_shows_every_view_without_scrolling_sideways(
    make_page: Callable[..., Page], service: ServiceProcess, view: str
) -> None:
    page = make_page(viewport=PHONE)
    page.goto(f"{service.url}/#/{view}")
    page.wait_for_selector("main h1")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


NOTICES = """
    window.notices = [];
    window.Notification = class {
        static permission = "default";
        static async requestPermission() { return (this.permission = "granted"); }
        constructor(title, { body }) { window.notices.push([title, body]); }
        close() {}
    };
"""


def test_who_looks_elsewhere_is_told_when_it_is_done_if_he_wants_it(page: Page, opened: Opened) -> None:
    page.add_init_script(NOTICES)
    opened()
    ask(page, "an albatross", model="patient:x")
    page.get_by_label("Notify me when it is done").check()
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    wait_until(page, "window.notices.length > 0")
    assert page.evaluate("window.notices") == [["Your video is ready", "an albatross"]]


PASTE = """(content) => {
    const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}"""


def test_an_image_can_be_pasted_and_taken_away_again(opened: Opened) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    page.evaluate(PASTE, base64.b64encode(png()).decode())
    expect(page.get_by_text("pasted.png")).to_be_visible()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("pasted.png")).to_have_count(0)


def test_one_that_is_deleted_beside_the_form_goes_at_once_and_comes_back(opened: Opened) -> None:
    page = opened()
    ask(page, "a gannet", model="slow:x")
    require_playing(page)
    panel(page).get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="This video is gone")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    require_playing(page)
