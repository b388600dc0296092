"""Many videos at once: a list of prompts or a matrix, watched while it fills, in a real browser."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from playwright.sync_api import CDPSession, Locator, Page, expect

from tests.journeys.page.conftest import PATIENCE_MILLISECONDS, PHONE, wait_until
from tests.journeys.service_process import ServiceProcess, until

Opened = Callable[..., Page]

DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name));
    const target = document.querySelector("textarea");
    for (const kind of ["dragover", "drop"])
        target.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
}"""


def drop(page: Page, name: str, text: str) -> None:
    page.evaluate(DROP, [name, base64.b64encode(text.encode()).decode()])


def prompts(page: Page) -> Locator:
    return page.get_by_label("Prompts, one a line")


def choose(page: Page, model: str) -> None:
    """Name the model as one of the Hub would be."""
    page.get_by_label("Model", exact=True).select_option(label="Another model…")
    page.get_by_label("Model reference").fill(model)
    page.get_by_label("Model reference").blur()
    expect(page.get_by_text("Runs on this machine (fake)")).to_be_visible()


def press(page: Page, name: str) -> None:
    """Press the button, and wait until the batch is shown."""
    page.get_by_role("button", name=name, exact=True).click()
    expect(page.locator("article.batch")).to_be_visible()


def expect_count(page: Page, state: str, number: int) -> None:
    expect(page.locator(f"[data-count={state}]")).to_contain_text(str(number), timeout=PATIENCE_MILLISECONDS)


def send(client: httpx2.Client, *lines: dict[str, Any], **metadata: str) -> str:
    """Return the id of a batch that was sent by another client."""
    reply = client.post("/v1/batches", json={"requests": list(lines), "metadata": metadata})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def test_a_batch_of_three_prompts_fills_its_grid(opened: Opened) -> None:
    page = opened("batch")
    page.get_by_label("Duration").fill("1")
    prompts(page).fill("a red circle moving left\n\n   \n  a blue square growing\na green triangle moving up\n")
    press(page, "Make 3 videos")
    assert "#/batch/batch_" in page.url
    expect(page.get_by_role("heading", level=1)).to_have_text("a red circle moving left and 2 more")
    expect(page.locator(".cells img")).to_have_count(3, timeout=2 * PATIENCE_MILLISECONDS)
    wait_until(page, "[...document.querySelectorAll('.cells img')].every((one) => one.naturalWidth > 0)")
    expect_count(page, "completed", 3)
    expect(page.locator("article.batch")).to_have_attribute("data-state", "completed")
    expect(page).to_have_title("✓ a red circle moving left and 2 more – cinelet")
    expect(page.locator("[data-announcer]")).to_have_text("The batch has ended: 3 of 3 videos are ready")
    assert page.locator(".cell-prompt").all_inner_texts() == [
        *("a red circle moving left", "a blue square growing", "a green triangle moving up")
    ]
    page.locator(".cells a").first.hover()
    expect(page.locator(".cells video")).to_have_count(1)
    page.locator(".cells a").first.click()
    page.wait_for_url("**/#/generation/*")
    page.go_back()
    page.get_by_role("link", name="← All batches").click()
    earlier = page.get_by_role("region", name="Earlier batches").get_by_role("listitem").first
    expect(earlier).to_contain_text("a red circle moving left and 2 more")
    expect(earlier).to_contain_text("3 of 3 videos")


def test_a_matrix_of_two_by_two_is_a_table(opened: Opened, client: httpx2.Client) -> None:
    page = opened("batch")
    page.get_by_label("A matrix").check()
    prompts(page).fill("a red circle\na blue square")
    page.get_by_label("Seeds", exact=True).fill("4, 7")
    page.get_by_label("Another model, by its reference").fill("slow:x")
    page.keyboard.press("Enter")
    page.get_by_role("checkbox", name="embedded").uncheck()
    page.get_by_label("Name of the batch").fill("Two by two")
    expect(page.get_by_text("2 prompts × 2 seeds × 1 model = 4 videos.")).to_be_visible()
    press(page, "Make 4 videos")
    table = page.get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_text(["Prompt", "seed 4", "seed 7"])
    expect(table.get_by_role("rowheader")).to_have_text(["a red circle", "a blue square"])
    expect(table.get_by_role("img")).to_have_count(0)  # a cell's link says it in words
    expect(table.locator("img")).to_have_count(4)
    expect(table.get_by_role("link", name="a blue square, seed 7, Done")).to_be_visible()
    batch = page.url.rpartition("/")[2]
    lines = [json.loads(line) for line in client.get(f"/v1/batches/{batch}/results").text.splitlines()]
    asked = [(one["generation"]["request"]["prompt"], one["generation"]["request"]["seed"]) for one in lines]
    assert asked == [("a red circle", 4), ("a red circle", 7), ("a blue square", 4), ("a blue square", 7)]
    assert {one["custom_id"] for one in lines} == {"a red circle", "a blue square"}
    assert client.get(f"/v1/batches/{batch}").json()["metadata"]["name"] == "Two by two"


def test_a_column_a_model_and_seed(opened: Opened) -> None:
    page = opened("batch")
    page.get_by_label("A matrix").check()
    prompts(page).fill("a gull")
    page.get_by_label("Seeds", exact=True).fill("1-2")
    for model in ("slow:x", "slow:y"):
        page.get_by_label("Another model, by its reference").fill(model)
        page.get_by_role("button", name="Add").click()
    page.get_by_role("checkbox", name="embedded").uncheck()
    press(page, "Make 4 videos")
    heads = page.get_by_role("table").get_by_role("columnheader")
    expect(heads).to_have_text(["Prompt", "slow:x", "slow:y", "seed 1", "seed 2", "seed 1", "seed 2"])
    expect(page.get_by_role("link", name="a gull, slow:y, seed 2, Done")).to_be_visible()


def test_a_bad_line_shows_its_reason_and_stops_no_other(opened: Opened) -> None:
    page = opened("batch")
    choose(page, "slow:x")
    lines = [
        '{"prompt": "a gull", "seed": 4}',
        '{"prompt": "a fox", "sed": 4}',
        "no json",
        '{"prompt": "a bear", "duration": 99, "custom_id": "the bear"}',
    ]
    drop(page, "lines.jsonl", "\n".join(lines))
    expect(page.get_by_text("4 lines with values of their own")).to_be_visible()
    expect(page.get_by_text("Line 3 is no JSON object")).to_be_visible()
    press(page, "Make 4 videos")
    expect(page.locator("[data-line='1'] img")).to_be_visible()
    expect(page.locator("[data-line='2']")).to_contain_text("sed: Unknown field")
    expect(page.locator("[data-line='3']")).to_contain_text("It is no JSON object")
    expect(page.locator("[data-line='4']")).to_contain_text("Duration must be 1-30 seconds")
    expect(page.locator("[data-line='4'] .cell-prompt")).to_have_text("the bear")
    expect_count(page, "failed", 3)
    # What the service never had cannot be sent again.
    expect(page.get_by_role("button", name="again")).to_have_count(0)


def test_where_no_line_is_good_the_form_stays_with_the_reasons(opened: Opened) -> None:
    page = opened("batch")
    drop(page, "lines.jsonl", '{"prompt": "a fox", "sed": 4}\n{"prompt": "a bear", "duration": 99}\n')
    page.get_by_role("button", name="Make 2 videos").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("None of the 2 lines can be made")
    expect(alert).to_be_focused()
    assert alert.get_by_role("listitem").all_inner_texts() == [
        *("line 1: sed: Unknown field", "line 2: Duration must be 1-30 seconds")
    ]
    expect(page.get_by_text("2 lines with values of their own")).to_be_visible()


def test_what_waits_and_what_runs_is_cancelled_and_can_be_made_after_all(opened: Opened) -> None:
    page = opened("batch")
    choose(page, "patient:x")
    prompts(page).fill("\n".join(f"a gull, number {number}" for number in range(6)))
    press(page, "Make 6 videos")
    expect(page.locator(".cell[data-state=in_progress]")).to_have_count(1)
    page.get_by_role("button", name="Cancel the rest").click()
    expect_count(page, "cancelled", 6)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.locator("article.batch")).to_have_attribute("data-state", "cancelled")
    expect(page.locator(".batch-far strong")).to_have_text("Cancelled")
    first = page.url
    page.get_by_role("button", name="Make 6 cancelled ones").click()
    wait_until(page, "(before) => location.href !== before", first)
    expect(page.get_by_role("heading", level=1)).to_contain_text("once more")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.locator(".cell")).to_have_count(6)
    page.get_by_role("button", name="Cancel the rest").click()
    expect_count(page, "cancelled", 6)
    page.get_by_role("link", name="after an earlier batch").click()
    page.wait_for_url(first)


def test_failed_ones_are_tried_again_as_a_batch_of_their_own(opened: Opened, client: httpx2.Client) -> None:
    lines = ({"prompt": "a gull", "model": "slow:x"}, {"prompt": "a fox", "model": "broken:x", "seed": 3})
    batch = send(client, *lines, name="Animals")
    page = opened(f"batch/{batch}")
    expect(page.locator("[data-line='2']")).to_contain_text("The lens is cracked")
    page.get_by_role("button", name="Try 1 failed one again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Animals, once more")
    expect_count(page, "failed", 1)
    (again,) = client.get(f"/v1/batches/{page.url.rpartition('/')[2]}/results").text.splitlines()
    asked = json.loads(again)["generation"]
    assert (asked["requested_model"], asked["request"]["prompt"], asked["request"]["seed"]) == ("broken:x", "a fox", 3)


def test_a_reload_in_the_middle_loses_nothing(opened: Opened, client: httpx2.Client) -> None:
    batch = send(client, *({"prompt": f"a gull, number {number}", "model": "slow:x"} for number in range(8)))
    page = opened(f"batch/{batch}")
    expect(page.locator(".cells img").first).to_be_visible()
    page.reload()
    expect(page.locator(".cell")).to_have_count(8)
    expect(page.locator(".cells img").first).to_be_visible()
    expect_count(page, "completed", 8)


def test_the_form_lives_through_a_reload_and_a_look_elsewhere(opened: Opened) -> None:
    page = opened("batch")
    page.get_by_label("A matrix").check()
    prompts(page).fill("a gull\na fox")
    page.get_by_label("Seeds", exact=True).fill("5-7")
    page.reload()
    expect(page.get_by_text("2 prompts × 3 seeds × 1 model = 6 videos.")).to_be_visible()
    page.get_by_role("link", name="Make", exact=True).click()
    page.get_by_role("link", name="Batch", exact=True).click()
    expect(prompts(page)).to_have_value("a gull\na fox")
    page.get_by_label("Seeds", exact=True).fill("1, x")
    expect(page.get_by_label("Seeds", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("button", name="Make 2 videos")).to_be_disabled()


def test_the_keyboard_alone_makes_a_batch(opened: Opened) -> None:
    page = opened("batch")
    choose(page, "slow:x")
    prompts(page).focus()
    page.keyboard.type("a gull")
    page.keyboard.press("Enter")
    page.keyboard.type("a fox")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("a gull and 1 more")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect_count(page, "completed", 2)


def test_repeats_are_said_and_can_be_left_out(opened: Opened) -> None:
    page = opened("batch")
    prompts(page).fill("a gull\na fox\na gull\n\na gull")
    expect(page.get_by_text("2 lines say what others say; each is made.")).to_be_visible()
    expect(page.get_by_role("button", name="Make 4 videos")).to_be_enabled()
    page.get_by_role("button", name="Leave out the repeats").click()
    expect(prompts(page)).to_be_focused()
    expect(prompts(page)).to_have_value("a gull\na fox\n")
    expect(page.get_by_role("button", name="Make 2 videos")).to_be_enabled()


def test_files_of_prompts_are_taken_into_the_form(opened: Opened) -> None:
    page = opened("batch")
    drop(page, "prompts.txt", "a gull\r\n\r\na fox\r\n")
    expect(prompts(page)).to_have_value("a gull\na fox\n")
    drop(page, "prompts.csv", 'prompt\n"a bear, brown"\n')
    expect(prompts(page)).to_have_value("a gull\na fox\na bear, brown\n")
    drop(page, "more.csv", "prompt;seed;colour\na cat;4;red\n")
    expect(page.get_by_text("no parameter is called colour; left out")).to_be_visible()
    expect(page.get_by_text("more.csv: 1 line with values of their own")).to_be_visible()
    expect(page.get_by_role("button", name="Make 4 videos")).to_be_visible()
    drop(page, "a.png", "x")
    expect(page.get_by_role("alert")).to_have_text("a.png is no .txt, .csv or .jsonl file.")


def test_the_time_is_said_before_the_button_is_pressed(opened: Opened, client: httpx2.Client) -> None:
    batch = send(client, *({"prompt": "a gull", "model": "slow:x", "seed": seed} for seed in range(4)))
    until(lambda: client.get(f"/v1/batches/{batch}").json()["finished_at"] is not None, what="the measuring")
    asked = {"model": "slow:x", "duration": 6, "fps": 8}
    one = client.post("/v1/estimate", json=asked).json()["seconds"]
    page = opened("batch")
    choose(page, "slow:x")
    prompts(page).fill("\n".join(f"a fox, number {number}" for number in range(200)))
    expect(page.locator(".send")).to_contain_text("200 videos. About")
    said = page.locator(".send").inner_text()
    number, unit = re.search(r"About ([\d.]+) (s|min) one after another", said).groups()  # type: ignore[union-attr]
    assert float(number) * {"s": 1, "min": 60}[unit] == pytest.approx(200 * one, rel=0.3)


def test_the_same_batch_is_sent_once_however_often_the_button_is_pressed(opened: Opened, client: httpx2.Client) -> None:
    page = opened("batch")
    choose(page, "slow:x")
    prompts(page).fill("a gull that nobody else asks for")
    keys: list[str | None] = []

    def lose(route: Any) -> None:
        keys.append(route.request.header_value("idempotency-key"))
        if len(keys) == 1:
            route.fetch()  # it arrives, and its answer does not
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/batches", lambda route: lose(route) if route.request.method == "POST" else route.continue_())
    page.get_by_role("button", name="Make 1 video").click()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    press(page, "Make 1 video")
    assert len(keys) == 2
    assert keys[0]
    assert keys[0] == keys[1]
    names = [one["metadata"].get("name") for one in client.get("/v1/batches").json()["data"]]
    assert names.count("a gull that nobody else asks for") == 1


def test_the_results_are_a_file(opened: Opened, client: httpx2.Client) -> None:
    batch = send(client, {"prompt": "a gull", "model": "slow:x"}, {"prompt": ""})
    page = opened(f"batch/{batch}")
    expect_count(page, "completed", 1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the results").click()
    assert download.value.suggested_filename == f"{batch}.jsonl"
    lines = [json.loads(line) for line in download.value.path().read_text(encoding="utf-8").splitlines()]
    assert [line["state"] for line in lines] == ["completed", "failed"]


def test_a_batch_that_is_not_there_says_so(opened: Opened) -> None:
    expect(opened("batch/batch_none").get_by_role("heading", level=1)).to_have_text("This batch is gone")


@pytest.mark.parametrize("viewport", [None, PHONE], ids=["wide", "phone"])
def test_a_matrix_fits_its_screen(
    make_page: Callable[..., Page], service: ServiceProcess, viewport: dict[str, int] | None
) -> None:
    lines = [{"prompt": "a gull", "model": "slow:x", "seed": seed} for seed in range(1, 7)]
    batch = send(service.client, *lines, shape="matrix", seeds="[1,2,3,4,5,6]", model_1="slow:x")
    page = make_page(viewport=viewport) if viewport else make_page()
    page.goto(f"{service.url}/#/batch/{batch}")
    expect(page.get_by_role("table").locator("img")).to_have_count(6, timeout=PATIENCE_MILLISECONDS)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def busy_seconds(session: CDPSession) -> float:
    """Return how long the page's thread has computed: its own time, which other programs do not lengthen."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def test_five_hundred_lines_stay_smooth_while_they_fill(opened: Opened, client: httpx2.Client) -> None:
    # Each fails at once, so that many events come while somebody scrolls.
    batch = send(client, *({"prompt": f"a gull, number {number}", "model": "broken:x"} for number in range(500)))
    page = opened(f"batch/{batch}")
    expect(page.locator(".cell")).to_have_count(500)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    before, began = busy_seconds(session), time.monotonic()
    for _ in range(40):
        page.mouse.wheel(0, 400)
        page.wait_for_timeout(50)
    share = (busy_seconds(session) - before) / (time.monotonic() - began)
    client.post(f"/v1/batches/{batch}/cancel")
    until(lambda: client.get(f"/v1/batches/{batch}").json()["finished_at"] is not None, what="the cancelling")
    expect_count(page, "failed", client.get(f"/v1/batches/{batch}").json()["counts"]["failed"])
    expect(page.locator("article.batch")).to_have_attribute("data-state", "cancelled")
    assert share < 0.5
    # What changed comes by the stream; the results are read whole now and then, and no line on its own.
    assert len(asked) < 20
