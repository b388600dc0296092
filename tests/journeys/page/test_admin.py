"""Administrators see who works, what waits, who may ask and what failed; nobody else does."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
from playwright.sync_api import Locator, Page, expect

from tests.journeys.page.conftest import PATIENCE_MILLISECONDS, PHONE, MakeKey, made
from tests.journeys.service_process import ServiceProcess

OWN_SERVICE = True


def region(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True).first


def row(page: Page, table: str, text: str) -> Locator:
    return page.get_by_role("table", name=table, exact=True).get_by_role("row").filter(has_text=text)


def test_the_tables_show_who_works_and_what_failed(opened: Callable[..., Page], client: httpx2.Client) -> None:
    made(client)
    failed = made(client, "a fox", model="broken:x")
    page = opened("admin")
    worker = row(page, "Workers", "local models")
    expect(worker).to_contain_text("1 at once")
    expect(worker).to_contain_text("embedded", timeout=PATIENCE_MILLISECONDS)
    expect(worker).to_contain_text("cpu")
    expect(row(page, "Workers", "providers")).to_contain_text("100 at once")
    failure = row(page, "Failures of the last day", "broken:x")
    expect(failure).to_contain_text("The lens is cracked")
    expect(failure.get_by_role("cell").nth(1)).to_have_text("1")
    expect(region(page, "Keys and their use")).to_contain_text("cinelet keys create NAME")
    expect(page.locator("[data-figure=waiting]")).to_have_text("0")
    failure.get_by_role("link").click()
    page.wait_for_url(f"**/#/generation/{failed['id']}")


def test_what_is_shown_follows_what_is_so_and_stays_while_the_service_is_away(
    opened: Callable[..., Page], client: httpx2.Client
) -> None:
    page = opened("admin")
    expect(page.locator("[data-figure=running]")).to_have_text("0")
    going_on = client.post("/v1/text-to-video", json={"prompt": "a gull", "model": "patient:x"}).json()
    expect(page.locator("[data-figure=running]")).to_have_text("1", timeout=PATIENCE_MILLISECONDS)
    client.post(f"{going_on['links']['self']}/cancel")
    page.route("**/v1/admin/**", lambda route: route.abort())
    page.get_by_role("button", name="Read now").click()
    expect(page.locator(".stale")).to_contain_text("The service does not answer")
    expect(page.locator(".stale")).to_contain_text("What is shown was so at")
    expect(row(page, "Workers", "local models")).to_be_visible()
    page.unroute("**/v1/admin/**")
    page.get_by_role("button", name="Read now").click()
    expect(page.locator(".stale")).to_have_count(0)


def test_without_a_worker_it_says_what_to_do(opened: Callable[..., Page], page: Page) -> None:
    page.route("**/v1/admin/workers", lambda route: route.fulfill(json={"object": "list", "data": []}))
    expect(region(opened("admin"), "Workers and devices")).to_contain_text("cinelet worker")


def test_what_a_worker_on_a_gpu_reports_is_shown_with_its_numbers(opened: Callable[..., Page], page: Page) -> None:
    device = {
        "name": "cuda:0",
        "total_bytes": 80e9,
        "free_bytes": 20e9,
        "allocated_bytes": 40e9,
        "reserved_bytes": 50e9,
    }
    circuit = {"name": "hf fal-ai", "state": "open", "failures": 5, "open_seconds": 22.4}
    worker = {
        "name": "one",
        "host": "gpu-1",
        "pid": 7,
        "queues": {"local": 1},
        "running": 1,
        "finished": 1203,
        "started_at": 1e9,
        "seen_at": 1e9,
        "resident_bytes": 6e9,
        "device": device,
        "circuits": [circuit],
        "models": [
            {
                "model": "org/name",
                "revision": "0123456789abcdef",
                "bytes": 32e9,
                "estimated_bytes": 31e9,
                "device": "cuda:0",
                "placement": "bfloat16, group offload",
            }
        ],
    }
    page.route("**/v1/admin/workers", lambda route: route.fulfill(json={"object": "list", "data": [worker]}))
    opened("admin")
    memory = page.get_by_role("meter", name="Memory of cuda:0 of gpu-1, process 7")
    expect(memory).to_have_attribute("aria-valuetext", "60 GB of 80 GB taken")
    shown = row(page, "Workers", "gpu-1")
    loaded = ("org/name 0123456 32 GB (estimated 31 GB), cuda:0", "bfloat16, group offload")
    for words in ("50 GB by this worker, 40 GB in use", *loaded, "1,203"):
        expect(shown).to_contain_text(words)
    expect(row(page, "Circuits", "hf fal-ai")).to_contain_text("left alone")
    expect(row(page, "Circuits", "hf fal-ai")).to_contain_text("22 s")
    page.set_viewport_size(
        {"width": PHONE["width"], "height": PHONE["height"]}
    )  # now each row is a card, and still a row for screen readers
    expect(row(page, "Circuits", "hf fal-ai").get_by_role("cell").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_model_is_loaded_ahead_and_unloaded_and_what_cannot_be_loaded_is_said(
    opened: Callable[..., Page], client: httpx2.Client
) -> None:
    page = opened("admin")
    worker = row(page, "Workers", "local models")
    form = page.get_by_label("Load a model ahead")
    form.fill("embedded")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="embedded is loaded")).to_contain_text("on cpu")
    expect(worker).to_contain_text("float32, no offload")
    expect(form).to_have_value("")
    worker.get_by_role("button", name="Unload embedded").click()
    expect(worker).to_contain_text("nothing")
    (known,) = [one for one in client.get("/v1/admin/workers").json()["data"] if "local" in one["queues"]]
    assert known["models"] == []
    form.fill("local:./nowhere")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator(".toast.error")).to_contain_text("nowhere")
    form.fill("hf:org/name")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator(".toast.error").last).to_contain_text("nothing is loaded for it")


def test_keys_show_their_use_and_never_a_secret_and_a_key_that_makes_videos_gets_no_admin(
    make_page: Callable[..., Page], service: ServiceProcess, make_key: MakeKey
) -> None:
    admin = make_key("boss", "--role", "admin")
    maker = make_key("ann", "--video-seconds-per-day", "600")
    with httpx2.Client(base_url=service.url, headers={"authorization": f"Bearer {maker}"}, timeout=60) as client:
        made(client)

    def sign_in(key: str) -> Page:
        page = make_page()
        page.goto(f"{service.url}/#/admin")
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Sign in").click()
        return page

    page = sign_in(admin)
    expect(row(page, "Keys", "ann")).to_contain_text("600 s of video a day".replace("600 s", "10 min"))
    expect(row(page, "Keys", "ann")).to_contain_text("1 s of 10 min")
    expect(row(page, "Keys", "boss")).to_contain_text("admin")
    content = page.content()
    assert not any(key in content or key[4:] in content for key in (admin, maker))

    page = sign_in(maker)
    expect(page.get_by_role("heading", level=1)).to_have_text("For administrators")
    expect(page.get_by_text("Your key has the role generate; this view needs the role admin.")).to_be_visible()
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    expect(page.get_by_role("table")).to_have_count(0)


def test_a_key_that_looks_sees_batches_and_no_buttons(
    make_page: Callable[..., Page], service: ServiceProcess, make_key: MakeKey
) -> None:
    maker, reader = make_key("eve", "--owner", "team"), make_key("max", "--owner", "team", "--role", "read")
    with httpx2.Client(base_url=service.url, headers={"authorization": f"Bearer {maker}"}, timeout=60) as client:
        lines = [{"prompt": f"a gull, number {number}", "model": "slow:x"} for number in range(2)]
        batch = client.post("/v1/batches", json={"requests": [*lines, {"prompt": "a fox", "model": "broken:x"}]}).json()
    page = make_page()
    page.goto(f"{service.url}/#/batch")
    page.get_by_label("Key", exact=True).fill(reader)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Your key may look at batches, and not make any.")).to_be_visible()
    page.get_by_role("link", name="3 videos").click()
    page.wait_for_url(f"**/#/batch/{batch['id']}")
    expect(page.locator(".cells img")).to_have_count(2, timeout=PATIENCE_MILLISECONDS)
    assert page.locator(".cells img").first.evaluate("one => one.src").startswith("blob:")
    expect(page.locator("[data-count=failed]")).to_be_visible()
    assert page.get_by_role("article").get_by_role("button").all_inner_texts() == ["Download the results"]
