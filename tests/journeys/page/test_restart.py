"""The service is killed while a page looks at it, and comes back: the page goes on, and so does the work."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.journeys.page.test_make import ask, panel, require_playing
from tests.journeys.service_process import ServiceProcess, environment_of


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_a_page_goes_on_after_the_service_was_killed_and_restarted(
    make_page: Callable[..., Page], make_data: Callable[[], Path], tmp_path: Path
) -> None:
    environment, port = environment_of(tmp_path, data=make_data()), free_port()
    page = make_page()
    with ServiceProcess(environment, port=port) as service:
        page.goto(f"{service.url}/#/make")
        page.wait_for_selector("main h1")
        ask(page, "a tern", model="patient:x")
        expect(panel(page).get_by_role("heading", name="Drawing, step")).to_be_visible()
        name = panel(page).get_by_role("link", name="Everything about it").get_attribute("href")
        service.kill()
        expect(page.get_by_role("alert").filter(has_text="The service does not answer")).to_be_visible()
        # What was known stays on the page meanwhile.
        expect(panel(page).get_by_role("heading", name="Drawing, step")).to_be_visible()
    with ServiceProcess(environment, port=port) as service:
        expect(page.get_by_text("The service does not answer")).to_be_hidden()
        require_playing(page)
        assert panel(page).get_by_role("link", name="Everything about it").get_attribute("href") == name
        ended = service.client.get(f"/v1/generations/{str(name).rpartition('/')[2]}").json()
        assert (ended["state"], ended["requested_model"]) == ("completed", "patient:x")
        service.terminate()
