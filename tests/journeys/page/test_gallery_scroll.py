"""Ten thousand videos: the gallery is moved through without a halt, keeps little, and comes back to where it was."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.page.conftest import made
from tests.journeys.service_process import ServiceProcess, until

COUNT = 10_000
HALT_MILLISECONDS = 100
YARDSTICK_MILLISECONDS = 20
"""What `YARDSTICK` takes of a processor for which `HALT_MILLISECONDS` holds; a slower one may take as much longer."""
YARDSTICK = """
    const rows = document.createElement('div');
    rows.style.position = 'absolute';
    for (let row = 0; row < 1000; row++) {
        const words = document.createElement('p');
        words.textContent = 'as many words as a tile has '.repeat(4);
        rows.append(words);
    }
    document.body.append(rows);
    rows.offsetHeight;
    rows.remove();
"""
SCROLL_SECONDS = 240
COPIES = """
    INSERT INTO generations ({columns})
    SELECT {values} FROM generate_series(1, {count}) AS number, generations WHERE id = '{id}'
"""
COPIED = {
    "id": "'gen_' || left(translate(md5(number::text), '0189', 'ghij'), 26)",
    "created_at": "created_at - make_interval(secs => number)",
    "request": "json_build_object('task', 'text-to-video', 'prompt', 'a copy, number ' || number, 'model', 'embedded')",
    "idempotency_key": "NULL",
}
COUNT_ADDRESSES = """
    window.addresses = 0; window.mostAddresses = 0;
    const { createObjectURL, revokeObjectURL } = URL;
    URL.createObjectURL = (one) => {
        window.mostAddresses = Math.max(window.mostAddresses, ++window.addresses);
        return createObjectURL.call(URL, one);
    };
    URL.revokeObjectURL = (one) => { window.addresses -= 1; revokeObjectURL.call(URL, one); };
"""
IN_THE_WINDOW = """
    [...document.querySelectorAll('.tile')].find((tile) => {
        const { top, bottom } = tile.getBoundingClientRect();
        return top > 100 && bottom < innerHeight;
    }).dataset.id
"""
SCROLLED_TO = 1000
READ = "import('/web/shelf.js').then(({ shelf }) => shelf.value.ids.length)"
READ_THE_REST = """
    async () => {
        const { shelf, more } = await import('/web/shelf.js');
        while (shelf.value.next !== null) {
            more();
            await new Promise((read) => {
                const end = shelf.subscribe(({ reading }) => reading || (end(), read()));
            });
            if (shelf.value.error) throw shelf.value.error;
        }
    }
"""

OWN_SERVICE = True


async def fill(environment: dict[str, str], original: str) -> None:
    """Insert copies of a generation: no jobs and no events are made of them; their pictures are its own."""
    from cinelet.assembly import open_database
    from cinelet.config import Config

    config = Config(cinelet_data_dir=Path(environment["CINELET_DATA_DIR"]), database_url=None, hf_token=None)
    async with await open_database(config) as database, database.connection() as connection:
        found = await connection.execute(
            "SELECT column_name AS name FROM information_schema.columns"
            " WHERE table_name = 'generations' AND table_schema = current_schema()"
        )
        columns = [name for (name,) in await found.fetchall()]
        values = ", ".join(COPIED.get(name, name) for name in columns)
        await connection.execute("ALTER TABLE generations DISABLE TRIGGER USER")
        await connection.execute(
            COPIES.format(columns=", ".join(columns), values=values, count=COUNT, id=original).encode()
        )
        await connection.execute("ALTER TABLE generations ENABLE TRIGGER USER")


@pytest.fixture(scope="module", autouse=True)
def filled(service: ServiceProcess, environment: dict[str, str]) -> None:
    original = made(service.client)
    with ThreadPoolExecutor(1) as thread:  # this thread's event loop is Playwright's
        thread.submit(asyncio.run, fill(environment, original["id"])).result()


@pytest.fixture
def gallery(make_page: Callable[..., Page], service: ServiceProcess) -> Page:
    """Return the gallery as somebody sees it who has signed in: pictures are fetched for their elements."""
    page = make_page()
    page.add_init_script("sessionStorage.setItem('cinelet.key', 'cin_that_nobody_asks_for');")
    page.add_init_script(COUNT_ADDRESSES)
    page.goto(f"{service.url}/#/gallery")
    expect(page.locator(".tile img").first).to_be_visible()
    return page


def longest_task_milliseconds(browser: Browser, page: Page, act: Callable[[], object]) -> float:
    """Return the CPU time of the page's longest task while something is done, without the browser's own collecting.

    Its wall time says more about what else the machine does.
    """
    browser.start_tracing(page=page, categories=["toplevel", "v8"])
    act()
    events = json.loads(browser.stop_tracing())["traceEvents"]
    named = {(one["pid"], one["tid"]) for one in events if one.get("args", {}).get("name") == "CrRendererMain"}
    here = [event for event in events if "tdur" in event and (event["pid"], event["tid"]) in named]
    collecting = [event for event in here if event["name"] == "MajorGC"]

    def own(task: Any) -> float:
        end = task["ts"] + task["dur"]
        took: float = task["tdur"] - sum(one["tdur"] for one in collecting if task["ts"] <= one["ts"] < end)
        return took

    longest: float = max(own(event) for event in here if event["name"].endswith("RunTask"))
    return longest / 1000


def scroll(page: Page, pixels: int, *, until_read: int = 0, steps: int = 10**6) -> None:
    """Turn the wheel, step by step, as fast as one hardly can."""
    end = time.monotonic() + SCROLL_SECONDS
    page.mouse.move(700, 500)
    for step in range(steps):
        page.mouse.wheel(0, pixels)
        page.wait_for_timeout(40)
        if until_read and step % 10 == 0 and page.evaluate(READ) >= until_read:
            return
        assert time.monotonic() < end, page.locator(".gallery-end").inner_text()


def shown(page: Page) -> int:
    return page.locator(".tile").count()


def test_ten_thousand_are_scrolled_through_without_a_halt(gallery: Page, browser: Browser) -> None:
    scroll(gallery, 6000, until_read=SCROLLED_TO)
    gallery.evaluate(READ_THE_REST)

    def jump_and_scroll() -> None:
        for share in (0.5, 0.1, 0.9, 0, 1, 0.4):
            gallery.evaluate("share => scrollTo(0, share * document.documentElement.scrollHeight)", share)
            gallery.wait_for_timeout(300)
        scroll(gallery, -1500, steps=30)

    longest = longest_task_milliseconds(browser, gallery, jump_and_scroll)
    yardstick = longest_task_milliseconds(browser, gallery, lambda: gallery.evaluate(YARDSTICK))
    assert longest < HALT_MILLISECONDS * max(1, yardstick / YARDSTICK_MILLISECONDS), yardstick
    # What is far from the window has neither elements nor pictures, and yet its height.
    until(lambda: shown(gallery) <= 100)
    assert gallery.evaluate("document.querySelectorAll('*').length") < 5000
    # A picture for each, and the one that plays under the pointer.
    until(lambda: gallery.evaluate("addresses") <= shown(gallery) + 1)
    assert gallery.evaluate("mostAddresses") <= 300
    gallery.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = gallery.get_by_role("listitem").last
    expect(last).to_have_attribute("aria-posinset", str(COUNT + 1))
    expect(last).to_have_attribute("aria-setsize", str(COUNT + 1))
    expect(last).to_contain_text(f"a copy, number {COUNT}")


def test_who_comes_back_is_where_he_was(gallery: Page) -> None:
    scroll(gallery, 3000, steps=8)
    gallery.wait_for_timeout(500)
    name = gallery.evaluate(IN_THE_WINDOW)
    card = gallery.locator(f'[data-id="{name}"]')
    place = gallery.evaluate("scrollY")
    top = card.bounding_box()
    card.get_by_role("link").click()
    gallery.wait_for_url("**/#/generation/*")
    expect(gallery.locator("main h1")).to_be_visible()
    gallery.go_back()
    expect(card.get_by_role("link")).to_be_focused()
    assert gallery.evaluate("scrollY") == place
    assert card.bounding_box() == top


def test_new_ones_wait_until_whoever_looks_at_old_ones_wants_them(gallery: Page, service: ServiceProcess) -> None:
    scroll(gallery, 1000, steps=3)
    gallery.wait_for_timeout(500)
    seen = gallery.get_by_role("listitem").nth(3)
    where = seen.bounding_box()
    prompt = "a purple circle growing"
    made(service.client, prompt)
    newer = gallery.get_by_role("button", name="1 new video")
    expect(newer).to_be_visible()
    assert seen.bounding_box() == where
    newer.click()
    expect(gallery.get_by_role("listitem").first).to_contain_text(prompt)
    expect(newer).to_have_count(0)


def test_the_keyboard_reads_on_with_a_button(gallery: Page) -> None:
    # Where nothing is scrolled, nothing is read on by itself but what is near.
    gallery.set_viewport_size({"width": 700, "height": 400})
    more = gallery.get_by_role("button", name="More")
    before = gallery.evaluate(READ)
    more.focus()
    gallery.keyboard.press("Enter")
    until(lambda: gallery.evaluate(READ) >= before + 100)
    until(lambda: gallery.evaluate("document.activeElement.closest('.tile') !== null"))


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_rows_are_full_at_every_width(gallery: Page, width: int) -> None:
    gallery.set_viewport_size({"width": width, "height": 900})
    scroll(gallery, 1000, steps=3)
    gallery.wait_for_timeout(300)
    tops = gallery.evaluate("[...document.querySelectorAll('.tile')].map((one) => one.getBoundingClientRect().top)")
    rows = [len(list(row)) for _, row in itertools.groupby(tops)]
    assert set(rows) == {{390: 2, 820: 2, 1440: 5}[width]}
    assert gallery.evaluate("document.documentElement.scrollWidth <= innerWidth")
