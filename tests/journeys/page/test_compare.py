"""Videos side by side: played as one, and what differs between them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.journeys.page.conftest import made
from tests.journeys.service_process import ServiceProcess, until

Opened = Callable[..., Page]
IN_STEP_SECONDS = 0.1
TIMES = """async (seconds) => {
    const videos = [...document.querySelectorAll(".compared video")];
    const seen = [];
    const end = performance.now() + 1000 * seconds;
    while (performance.now() < end) {
        seen.push(videos.map((video) => [video.currentTime, video.duration]));
        await new Promise((resolve) => setTimeout(resolve, 40));
    }
    return seen;
}"""
"""The times of all videos, again and again for a while."""


@pytest.fixture(scope="module")
def three(service: ServiceProcess) -> list[dict[str, Any]]:
    """Return three videos: of 4 s, of 4 s with another seed and codec, and of 2 s."""
    client = service.client
    return [
        made(client, "a red circle moving left", duration=4, seed=1),
        made(client, "a red circle moving left", duration=4, seed=2, codec="vp9"),
        made(client, "a blue square growing", duration=2, seed=1),
    ]


def compared(opened: Opened, *generations: dict[str, Any]) -> Page:
    page = opened(f"compare?ids={','.join(one['id'] for one in generations)}")
    expect(page.locator(".compared")).to_have_count(len(generations))
    return page


def require_in_step(times: list[list[list[float]]]) -> None:
    """Fail where one is elsewhere than the first, unless it waits at its end."""
    for (first, _), *others in times:
        for time, duration in others:
            assert abs(time - min(first, duration)) < IN_STEP_SECONDS, times


def test_two_play_in_step(opened: Opened, three: list[dict[str, Any]]) -> None:
    page = compared(opened, *three[:2])
    until(lambda: page.evaluate("document.querySelector('.compared video')?.currentTime > 0.3"))
    times = page.evaluate(TIMES, 2)
    require_in_step(times)
    assert times[-1][0][0] != times[0][0][0]


def test_one_that_drifts_is_brought_back(opened: Opened, three: list[dict[str, Any]]) -> None:
    page = compared(opened, *three[:2])
    until(lambda: page.evaluate("document.querySelector('.compared video')?.currentTime > 0.3"))
    page.evaluate("document.querySelectorAll('.compared video')[1].currentTime += 1")
    page.wait_for_timeout(700)
    require_in_step(page.evaluate(TIMES, 0.5))


def test_a_shorter_one_waits_at_its_end_and_all_begin_again(opened: Opened, three: list[dict[str, Any]]) -> None:
    page = compared(opened, three[0], three[2])
    until(lambda: page.evaluate("document.querySelectorAll('.compared video')[1].ended"))
    times = page.evaluate(TIMES, 3.5)
    require_in_step(times)
    long, short = ([moment[index][0] for moment in times] for index in range(2))
    assert max(long) > 3.5
    assert max(short) == pytest.approx(2, abs=0.05)
    # Looped: both are at an early place again.
    assert min(long[len(long) // 2 :]) < 2
    assert min(short) < 1.5


def test_without_a_loop_it_ends(opened: Opened, three: list[dict[str, Any]]) -> None:
    page = compared(opened, three[2], three[2] | {"id": three[0]["id"]})
    page.get_by_label("Loop").uncheck()
    page.get_by_label("Speed").select_option("2")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    assert page.evaluate("[...document.querySelectorAll('video')].every((video) => video.paused)")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_frames_are_gone_through_one_by_one(opened: Opened, three: list[dict[str, Any]]) -> None:
    page = compared(opened, *three)
    page.get_by_role("button", name="Pause").click()
    slider = page.get_by_role("slider", name="Place in the videos")
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("^Frame 1 of 32"))
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="One frame on").click()
    expect(page.get_by_text("Frame 5 of 32")).to_be_visible()
    times = page.evaluate(TIMES, 0.1)[0]
    assert [time for time, _ in times] == pytest.approx([4.5 / 8] * 3, abs=0.01)
    slider.focus()
    page.keyboard.press("End")
    (long, _), _, (short, _) = page.evaluate(TIMES, 0.1)[0]
    assert long == pytest.approx(31.5 / 8, abs=0.01)
    assert short == pytest.approx(2, abs=0.02)


def test_the_speed_is_that_of_all(opened: Opened, three: list[dict[str, Any]]) -> None:
    page = compared(opened, *three[:2])
    page.get_by_label("Speed").select_option("0.5")
    page.wait_for_timeout(500)
    rates = page.evaluate("[...document.querySelectorAll('video')].map((video) => video.playbackRate)")
    assert rates == pytest.approx([0.5, 0.5], rel=0.1)


def test_nothing_plays_by_itself_for_who_wants_no_motion(
    make_page: Callable[..., Page], service: ServiceProcess, three: list[dict[str, Any]]
) -> None:
    page = make_page(reduced_motion="reduce")
    page.goto(f"{service.url}/#/compare?ids={three[0]['id']},{three[1]['id']}")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_enabled()
    page.wait_for_timeout(300)
    assert page.evaluate("[...document.querySelectorAll('video')].every((video) => video.paused)")


def test_differences_are_marked_and_said(opened: Opened, three: list[dict[str, Any]]) -> None:
    page = compared(opened, *three[:2])
    table = page.get_by_role("table")
    different = {name: name in {"Seed", "Codec"} for name in ("Prompt", "Seed", "Width", "Height", "Codec", "Size")}
    for name, differs in different.items():
        row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name)).first
        expect(row.get_by_role("rowheader")).to_have_text(f"{name}≠, differs" if differs else name)
    expect(page.get_by_role("heading", name="differences")).to_be_visible()
    page.get_by_label("Differences only").check()
    expect(page.get_by_role("rowheader", name="Prompt")).to_have_count(0)
    expect(page.get_by_role("rowheader", name="Seed")).to_be_visible()


def test_one_that_was_deleted_is_said_to_be(opened: Opened, client: httpx2.Client, three: list[dict[str, Any]]) -> None:
    one = made(client, "a green triangle moving up", duration=2)
    page = compared(opened, three[0], one)
    expect(page.locator("video")).to_have_count(2)
    client.delete(one["links"]["self"])
    page.reload()
    expect(page.get_by_role("article", name="B: deleted")).to_contain_text("This video is gone")
    expect(page.locator("video")).to_have_count(1)
    page.get_by_role("button", name="Take B out").click()
    expect(page.get_by_text("Choose two to four of the latest")).to_be_visible()
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(1)


def test_one_that_is_still_made_joins_when_it_is_done(
    opened: Opened, client: httpx2.Client, three: list[dict[str, Any]]
) -> None:
    asked = client.post("/v1/text-to-video", json={"prompt": "a tern", "model": "slow:x"}).json()
    page = compared(opened, three[0], asked)
    expect(page.locator("video")).to_have_count(2)


def test_who_chose_nothing_is_offered_the_latest(opened: Opened, three: list[dict[str, Any]]) -> None:
    page = opened("compare")
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()
    boxes = page.get_by_role("checkbox")
    boxes.nth(0).check()
    expect(page.get_by_text("Choose 1 more")).to_be_visible()
    boxes.nth(1).check()
    page.get_by_role("button", name="Compare 2").click()
    expect(page.locator("video")).to_have_count(2)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert len(page.url.partition("ids=")[2].split("%2C")) == 2
    page.get_by_role("button", name="Choose others").click()
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(2)
    page.get_by_role("button", name="Back").click()
    expect(page.locator("video")).to_have_count(2)
    assert len(three) == 3
