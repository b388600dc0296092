"""Whoever asks sees how models did: what is slow, what fails, what it costs, and what waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from playwright.sync_api import Page, Route, expect

from tests.journeys.page.conftest import PHONE, MakeKey, made, wait_until
from tests.journeys.page.test_admin import row
from tests.journeys.service_process import ServiceProcess

OWN_SERVICE = True
COUNT = {
    "attempts": 200,
    "succeeded": 150,
    "failed": 50,
    "neither": 0,
    "success_rate": 0.75,
    "seconds_per_video_second": {"p50": 4.0, "p95": 12.0},
    "queue_seconds": {"p50": 1.5, "p95": 90.0},
    "work_seconds": 3000.0,
    "video_seconds": 750.0,
    "cost": 12.5,
    "unpriced": 50,
    "errors": [{"code": "rate_limited", "count": 50}],
}
UNKNOWN = {
    **COUNT,
    "attempts": 1,
    "succeeded": 0,
    "failed": 0,
    "neither": 1,
    "success_rate": None,
    "seconds_per_video_second": {"p50": None, "p95": None},
    "queue_seconds": {"p50": None, "p95": None},
    "cost": None,
    "errors": [],
}
STATS: dict[str, Any] = {
    "object": "stats",
    "since": 0,
    "until": 1,
    "owner": None,
    "currency": "EUR",
    "total": COUNT,
    "models": [
        {**COUNT, "model": "hf:org/fast:fal-ai", "provider": "fal-ai", "work_share": 0.9},
        {**UNKNOWN, "model": "local:org/own", "provider": "local", "work_share": 0.1},
    ],
    "more_models": 3,
    "queue": [{"model": "org/fast", "queued": 3, "in_progress": 1, "share": 1.0}],
}


NEXT: dict[str, Any] = {
    "task": "text-to-video",
    "strategy": "balanced",
    "order": [
        {
            "model": "hf:org/fast:fal-ai",
            "why": "balanced: 98 % of 40 outcomes",
            "success": 0.98,
            "seconds": 12.5,
            "low": 9.0,
            "high": 15.0,
            "cost": 0.25,
            "samples": 40,
            "explored": True,
        },
    ],
    "left_out": [{"model": "local:org/own", "reason": "it costs too much"}],
    "why_not": "",
}


def pretend(page: Page, **changes: Any) -> None:
    def answer(route: Route) -> None:
        (window,) = parse_qs(urlsplit(route.request.url).query)["window"]
        route.fulfill(json={**STATS, "window": window, **changes.get(window, {})})

    page.route("**/v1/stats?*", answer)


def test_what_was_made_is_told_and_what_failed_with_its_code(
    opened: Callable[..., Page], client: httpx2.Client
) -> None:
    page = opened("stats")
    expect(page.get_by_text("No model was tried in this time")).to_be_visible()
    expect(page.get_by_text("Nothing waits, and nothing runs.")).to_be_visible()
    made(client)
    page.get_by_role("button", name="Read now").click()
    shown = row(page, "Models", "embedded")
    expect(shown).to_contain_text("1 of 1")
    expect(shown).to_contain_text("here")
    expect(shown).to_contain_text("100 %, 1 attempt")
    expect(shown).to_contain_text("unknown")
    expect(page.locator("[data-figure=success]")).to_have_text("100 %")
    expect(page.locator("[data-figure=cost]")).to_have_text("unknown")
    following = row(page, "Runs next: From a text", "embedded")
    expect(following).to_contain_text("outcome")


def test_what_runs_next_is_told_with_the_reason(opened: Callable[..., Page], page: Page) -> None:
    pretend(page)
    nothing = {
        **NEXT,
        "task": "image-to-video",
        "order": [],
        "left_out": [],
        "why_not": "No model here begins with an image",
    }
    page.route("**/v1/stats/next", lambda route: route.fulfill(json={"object": "list", "data": [NEXT, nothing]}))
    opened("stats")
    following = row(page, "Runs next: From a text", "hf:org/fast:fal-ai")
    for words in ("balanced: 98 % of 40 outcomes", "to know it better", "98 %", "13 s", "0.25 EUR"):
        expect(following).to_contain_text(words)
    expect(page.get_by_text("Left out: local:org/own, because it costs too much")).to_be_visible()
    expect(page.get_by_text("No model here begins with an image")).to_be_visible()


def test_numbers_have_charts_beside_them(opened: Callable[..., Page], page: Page) -> None:
    pretend(page)
    opened("stats")
    shown = row(page, "Models", "hf:org/fast:fal-ai")
    for words in ("150 of 200", "4 s, p95 12 s", "1.5 s, p95 1.5 min", "90 %, 200 attempts", "12.50 EUR and more"):
        expect(shown).to_contain_text(words)
    expect(shown).to_contain_text("50 × rate_limited")
    success = shown.locator(".bar").first
    widths = success.evaluate("bar => [bar.firstElementChild.offsetWidth, bar.offsetWidth]")
    assert abs(widths[0] / widths[1] - 0.75) < 0.05
    assert success.evaluate("bar => bar.classList.contains('much')")
    spread = shown.locator(".bar").nth(1)
    left = spread.evaluate("bar => (bar.firstElementChild.offsetLeft - bar.offsetLeft) / bar.offsetWidth")
    assert abs(left - 1 / 3) < 0.05, "from half of all to 95 of 100"
    expect(row(page, "Models", "local:org/own")).to_contain_text("unknown")
    expect(page.locator("[data-figure=success]")).to_have_text("75 %")
    expect(page.get_by_text("And 3 more models, with fewer attempts.")).to_be_visible()
    share = row(page, "Waits and runs now", "org/fast").get_by_role("meter", name="Share of org/fast")
    expect(share).to_have_attribute("aria-valuetext", "100 %")


def test_a_window_is_chosen_by_keyboard_and_stays_in_the_address(opened: Callable[..., Page], page: Page) -> None:
    week = {"total": {**COUNT, "success_rate": 0.5}}
    pretend(page, **{"7d": week})
    opened("stats")
    expect(page.get_by_role("radio", name="Day", exact=True)).to_be_checked()
    page.get_by_role("radio", name="Day", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="7 days")).to_be_checked()
    expect(page.get_by_role("radio", name="7 days")).to_be_focused()
    expect(page.locator("[data-figure=success]")).to_have_text("50 %")
    assert page.url.endswith("#/stats?window=7d")
    page.reload()
    expect(page.get_by_role("radio", name="7 days")).to_be_checked()


def test_what_was_told_stays_while_the_service_is_away(opened: Callable[..., Page], page: Page) -> None:
    pretend(page)
    opened("stats")
    expect(page.locator("[data-figure=success]")).to_have_text("75 %")
    page.unroute_all()
    page.route("**/v1/stats?*", lambda route: route.abort())
    page.get_by_role("button", name="Read now").click()
    expect(page.locator(".stale")).to_contain_text("What is shown was so before.")
    expect(row(page, "Models", "hf:org/fast:fal-ai")).to_be_visible()


def test_a_video_says_what_it_cost_and_a_failure_what_it_may(
    opened: Callable[..., Page], page: Page, client: httpx2.Client
) -> None:
    one, failed = made(client), made(client, "a fox", model="broken:x")
    unpriced = opened(f"generation/{one['id']}")
    expect(unpriced.locator(".facts")).to_contain_text("unknown: no price is known for it")
    priced = {**one, "result": {**one["result"], "cost": 0.0042, "currency": "EUR"}}
    page.route(f"**/v1/generations/{one['id']}", lambda route: route.fulfill(json=priced))
    page.reload()
    expect(page.locator(".facts")).to_contain_text("0.0042 EUR")
    attempt = {"model": "hf:org/fast:fal-ai", "seconds": 3, "error": failed["error"], "may_be_billed": True}
    page.route(f"**/v1/generations/{failed['id']}", lambda route: route.fulfill(json={**failed, "attempts": [attempt]}))
    opened(f"generation/{failed['id']}")
    expect(page.get_by_role("list", name="Attempts").first).to_contain_text("It may be billed.")


def test_it_fits_a_phone(make_page: Callable[..., Page], service: ServiceProcess) -> None:
    page = make_page(viewport=PHONE)
    pretend(page)
    page.goto(f"{service.url}/#/stats")
    expect(row(page, "Models", "hf:org/fast:fal-ai").get_by_role("cell").first).to_be_visible()
    wait_until(page, "() => document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("link", name="Stats").scroll_into_view_if_needed()
    expect(page.get_by_role("link", name="Stats")).to_be_in_viewport()


def test_a_key_that_looks_sees_its_owners_and_an_administrator_sees_budgets(
    make_page: Callable[..., Page], service: ServiceProcess, make_key: MakeKey
) -> None:
    admin = make_key("boss", "--role", "admin")
    reader = make_key("max", "--role", "read")
    make_key("ann", "--budget-per-day", "2.50")

    def sign_in(key: str, view: str) -> Page:
        page = make_page()
        page.goto(f"{service.url}/#/{view}")
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Sign in").click()
        return page

    page = sign_in(reader, "stats")
    expect(page.get_by_text("What your videos did, up to now.")).to_be_visible()
    expect(page.get_by_text("No model was tried in this time")).to_be_visible()
    page = sign_in(admin, "admin")
    expect(row(page, "Keys", "ann")).to_contain_text("2.50 USD a day")
    expect(row(page, "Keys", "ann").get_by_role("meter", name="Cost of ann in 24 hours")).to_have_attribute(
        "aria-valuetext", "none of 2.50 USD"
    )
