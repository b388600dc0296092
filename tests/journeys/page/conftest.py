"""The page in a real browser, on a real service with the embedded model."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.journeys.service_process import ServiceProcess, environment_of, until

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
"""The system's; a browser that a tool downloads is not used."""
REQUIRED = os.environ.get("CINELET_TESTS_NEED_CHROMIUM") == "1"
MakeKey = Callable[..., str]
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MILLISECONDS = 60_000
"""Two cores may be shared with other tests."""
expect.set_options(timeout=PATIENCE_MILLISECONDS)
EXPECTED_COMPLAINTS = re.compile(r"Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING")
"""What Chromium says itself of a reply that is an error, or of a service that is away."""


@pytest.fixture(scope="session", autouse=True)
def chromium() -> str:
    if CHROMIUM is None:
        assert not REQUIRED, "Chromium is not installed, and CINELET_TESTS_NEED_CHROMIUM=1 says that it must be"
        pytest.skip("Chromium is not installed, so the page is not tried in it (apt-get install chromium)")
    return CHROMIUM


@pytest.fixture(scope="session")
def make_data(
    copy_data: Callable[[Path], Path],
    processes_of: Callable[[Path], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Path]]:
    """Return what makes a data directory, whose database is stopped at the end whatever happened."""
    made: list[Path] = []

    def make() -> Path:
        made.append(copy_data(tmp_path_factory.mktemp("page") / "data"))
        return made[-1]

    yield make
    for directory in made:
        folder = directory / "database" / "postgres"
        if processes_of(folder):
            os.kill(int((folder / "postmaster.pid").read_text().splitlines()[0]), signal.SIGINT)


@pytest.fixture(scope="session")
def shared_environment(make_data: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment_of(tmp_path_factory.mktemp("plugins"), data=make_data())


@pytest.fixture(scope="session")
def shared_service(shared_environment: dict[str, str]) -> Iterator[ServiceProcess]:
    """A service that the tests of many files share: to start one, and load its model, takes ten seconds of CPU."""
    with ServiceProcess(shared_environment) as service:
        yield service
        service.terminate()


@pytest.fixture(scope="module")
def environment(
    request: pytest.FixtureRequest, make_data: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    if wants_its_own(request):
        return environment_of(tmp_path_factory.mktemp("plugins"), data=make_data())
    shared: dict[str, str] = request.getfixturevalue("shared_environment")
    return shared


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[ServiceProcess]:
    if wants_its_own(request):
        with ServiceProcess(environment) as service:
            yield service
            service.terminate()
    else:
        yield request.getfixturevalue("shared_service")


def wants_its_own(request: pytest.FixtureRequest) -> bool:
    """Tell whether a file has a service of its own: its tests make keys, or want to know all that was made there."""
    return bool(getattr(request.module, "OWN_SERVICE", False))


@pytest.fixture(scope="module")
def make_key(environment: dict[str, str], service: ServiceProcess) -> MakeKey:
    """Return what makes a key by its name and options, and gives its secret once nobody is served without one."""

    def make(name: str, *options: str) -> str:
        command = [sys.executable, "-m", "cinelet", "keys", "create", name, *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        # The service remembers for some seconds that there is no key.
        until(lambda: service.client.get("/v1/me").status_code == 401, what="to need a key")
        return next(word for word in done.stdout.split() if word.startswith("cin_"))

    return make


@pytest.fixture
def client(service: ServiceProcess) -> httpx2.Client:
    return service.client


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Root has no sandbox of its own in a container; to draw as a GPU would takes a whole core.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def make_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return what opens a tab of its own; at the end, none may have had a script that failed or was not allowed."""
    complaints: list[str] = []
    contexts = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not EXPECTED_COMPLAINTS.search(message.text):
            complaints.append(message.text)

    def make(**options: Any) -> Page:
        context = browser.new_context(viewport=options.pop("viewport", WIDE), **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(make_page: Callable[..., Page]) -> Page:
    return make_page()


@pytest.fixture
def opened(page: Page, service: ServiceProcess) -> Callable[[str], Page]:
    """Return what opens a view of the page, such as `gallery`, and waits for its heading."""

    def open_view(view: str = "make") -> Page:
        page.goto(f"{service.url}/#/{view}")
        page.wait_for_selector("main h1")
        return page

    return open_view


def made(client: httpx2.Client, prompt: str = "a red circle moving left", **values: Any) -> dict[str, Any]:
    """Return a generation that has ended: a small one of the embedded model, unless `values` say otherwise."""
    body = {"prompt": prompt, "duration": 1, "num_inference_steps": 2, "width": 64, "height": 64, **values}
    reply = client.post("/v1/text-to-video", json=body, headers={"prefer": "wait=60"})
    assert reply.status_code in {200, 202}, reply.text
    generation: dict[str, Any] = client.get(reply.json()["links"]["self"]).json()
    return generation


def wait_until(page: Page, script: str, argument: Any = None) -> None:
    """Wait until a script of the page says yes. Playwright's own way evaluates text, as the page's policy forbids."""
    for _ in range(PATIENCE_MILLISECONDS // 50):
        if page.evaluate(script, argument):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"It never came true: {script}")
