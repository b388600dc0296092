"""Where keys are required, the page asks for one; it stays in the tab, and in no address."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import httpx2
from playwright.sync_api import Page, expect

from tests.journeys.page.conftest import MakeKey, made
from tests.journeys.page.test_make import ask, require_playing
from tests.journeys.service_process import ServiceProcess, until

OWN_SERVICE = True


def sign_in(page: Page, service: ServiceProcess, key: str) -> None:
    page.goto(f"{service.url}/#/make")
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_key_opens_the_page_for_this_tab_alone(
    make_page: Callable[..., Page], service: ServiceProcess, make_key: MakeKey
) -> None:
    key = make_key("ann")
    page = make_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, service, "cin_wrong")
    expect(page.get_by_role("alert")).to_contain_text("does not know this key")
    sign_in(page, service, key)
    expect(page.get_by_text("Runs on this machine")).to_be_visible()
    page.get_by_label("Duration").fill("1")
    ask(page, "a red circle moving left")
    require_playing(page)
    assert page.evaluate("document.querySelector('video').src").startswith("blob:")
    page.reload()
    require_playing(page)
    page.get_by_role("link", name="Everything about it").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("Authorization: Bearer $CINELET_KEY")
    assert all(key not in address for address in asked)
    assert key not in page.content()
    assert page.evaluate("Object.values(localStorage).join()").find(key) == -1
    another = page.context.new_page()
    another.goto(service.url)
    expect(another.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.evaluate("Object.values(sessionStorage).join()").find(key) == -1


def test_a_key_that_may_only_look_is_offered_nothing_else(
    make_page: Callable[..., Page], service: ServiceProcess, make_key: MakeKey
) -> None:
    page = make_page()
    sign_in(page, service, make_key("looker", "--role", "read"))
    expect(page.get_by_text("Your key may look, and not make videos.")).to_be_visible()
    expect(page.get_by_role("button", name="Make video")).to_be_disabled()
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)


def test_one_tenant_sees_nothing_of_another(
    make_page: Callable[..., Page], service: ServiceProcess, make_key: MakeKey
) -> None:
    with httpx2.Client(
        base_url=service.url, timeout=60, headers={"authorization": f"Bearer {make_key('bob')}"}
    ) as client:
        name = made(client, "bob's secret heron")["id"]
    page = make_page()
    sign_in(page, service, make_key("eve"))
    page.goto(f"{service.url}/#/generation/{name}")
    expect(page.get_by_role("heading", name="There is no such video")).to_be_visible()
    page.goto(f"{service.url}/#/gallery")
    page.wait_for_selector("main h1")
    expect(page.get_by_text("heron")).to_have_count(0)


def test_a_key_that_is_revoked_meanwhile_leads_back_to_the_sign_in(
    make_page: Callable[..., Page], service: ServiceProcess, make_key: MakeKey, environment: dict[str, str]
) -> None:
    page = make_page()
    secret = make_key("gone")
    sign_in(page, service, secret)
    expect(page.get_by_text("Runs on this machine")).to_be_visible()

    def keys(*words: str) -> str:
        command = [sys.executable, "-m", "cinelet", "keys", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    (key,) = (one for one in json.loads(keys("list", "--json")) if one["name"] == "gone")
    keys("revoke", key["id"])
    headers = {"authorization": f"Bearer {secret}"}
    until(lambda: service.client.get("/v1/me", headers=headers).status_code == 401, what="to forget the key")
    page.get_by_label("Duration").fill("1")
    ask(page, "too late")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
