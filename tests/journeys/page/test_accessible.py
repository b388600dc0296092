"""Nobody stumbles: axe-core looks at every view, in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.journeys.page.conftest import PHONE, WIDE, made
from tests.journeys.service_process import ServiceProcess

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
GRAVE = {"serious", "critical"}


@pytest.fixture(scope="module")
def known(service: ServiceProcess) -> dict[str, str]:
    """Return the addresses of a view of each kind, with something in each."""
    client: httpx2.Client = service.client
    one, other = (made(client, prompt) for prompt in ("a red circle moving left", "a blue square growing"))
    failed = made(client, "a gull", model="broken:x")
    lines = {"requests": [{"prompt": "a red circle", "duration": 1, "model": "slow:x"}, {"prompt": ""}]}
    batch = client.post("/v1/batches", json=lines).json()
    return {
        "make": "make",
        "gallery": "gallery",
        "nothing found": "gallery?text=nothing+like+it",
        "completed": f"generation/{one['id']}",
        "failed": f"generation/{failed['id']}",
        "no such video": "generation/gen_none",
        "compare": f"compare?ids={one['id']},{other['id']}",
        "compare nothing": "compare",
        "batch": "batch",
        "one batch": f"batch/{batch['id']}",
        "admin": "admin",
        "stats": "stats",
        "nowhere": "nowhere",
    }


def findings(page: Page) -> list[Any]:
    """Return what axe finds that is serious, each with where it is."""
    # By the browser's own door for tests: the page's content policy lets no script in.
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (one["id"], one["help"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in GRAVE
    ]


VIEWS = (
    *("make", "gallery", "nothing found", "completed", "failed", "no such video", "compare", "compare nothing"),
    *("batch", "one batch", "stats", "admin", "nowhere"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_serious_is_found(
    make_page: Callable[..., Page], service: ServiceProcess, known: dict[str, str], view: str, scheme: str
) -> None:
    page = make_page(color_scheme=scheme, viewport=PHONE if scheme == "dark" else WIDE, reduced_motion="reduce")
    page.goto(f"{service.url}/#/{known[view]}")
    page.wait_for_selector("main h1")
    expect(page.get_by_text("Asking what")).to_have_count(0)
    for summary in page.locator("summary").all():
        summary.click()
    assert findings(page) == []


def test_the_sign_in_and_a_form_with_errors_are_no_worse(opened: Callable[..., Page]) -> None:
    page = opened()
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    page.get_by_role("button", name="Make video").click()
    expect(page.locator("[aria-invalid=true]")).to_be_visible()
    assert findings(page) == []
    page.evaluate("import('/web/api.js').then(({ signOut }) => signOut())")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert findings(page) == []


def test_whoever_goes_to_another_view_begins_at_its_heading(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_role("link", name="Gallery").click()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.tagName") in {"A", "BUTTON"}


def test_the_theme_can_be_chosen_and_is_kept(opened: Callable[..., Page]) -> None:
    page = opened()

    def background() -> str:
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return colour

    light = background()
    for name in ("light", "dark"):
        page.get_by_role("button", name="Colours").click()
        expect(page.get_by_role("button", name=f"Colours: {name}")).to_be_visible()
    assert background() != light
    dark = background()
    page.reload()
    page.wait_for_selector("main h1")
    assert background() == dark
