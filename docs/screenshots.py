"""Make the pictures of the page: `make screenshots`, or `python -m docs.screenshots --all FOLDER` for every width.

A service of its own makes a few videos with the embedded model; the system's Chromium looks at them. `DIGEST` says of
which state of the page the pictures are, and a test says when that is not the present one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Browser, Page, sync_playwright

from cinelet.web import FOLDER

IMAGES = Path(__file__).parent / "images"
DIGEST = IMAGES / "page.sha256"
WIDTHS = {"phone": 390, "tablet": 820, "desk": 1440}
HEIGHT = 900
PROMPTS = (
    "a red circle moving left",
    "a blue square growing",
    "a green triangle moving up",
    "a yellow ball moving right slowly",
    "a purple square shrinking",
    "an orange circle falling",
    "a large pink triangle rising",
    "a small white dot moving down fast",
)


def digest() -> str:
    """Return a hash of everything that the page looks like by."""
    total = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in {".html", ".js", ".css", ".svg"}:
            total.update(f"{path.relative_to(FOLDER)}\n".encode() + path.read_bytes())
    return total.hexdigest()


@contextmanager
def service() -> Iterator[httpx2.Client]:
    """Run a service with a data folder of its own."""
    with tempfile.TemporaryDirectory(prefix="cinelet-screenshots-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "cinelet", "serve", "--port", "0"],
            env={**os.environ, "CINELET_DATA_DIR": folder},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            said = next(found for line in process.stderr if (found := re.search(r"serves at (\S+)", line)))
            with httpx2.Client(base_url=said[1], timeout=120) as client:
                yield client
        finally:
            process.terminate()
            process.wait(60)


def make(client: httpx2.Client, prompt: str, **values: Any) -> dict[str, Any]:
    """Return a generation that has ended."""
    body = {"prompt": prompt, "duration": 2, **values}
    where = client.post("/v1/text-to-video", json=body, headers={"prefer": "wait=100"}).json()["links"]["self"]
    made: dict[str, Any] = client.get(where).json()
    return made


def views(client: httpx2.Client) -> dict[str, str]:
    """Make what is looked at, and return the address of each view."""
    made = [make(client, prompt, seed=7 + number) for number, prompt in enumerate(PROMPTS)]
    requests = [{"prompt": f"a {color} circle moving left", "duration": 2, "seed": seed}
                for color in ("red", "blue") for seed in (1, 2, 3)]  # fmt: skip
    batch = client.post("/v1/batches", json={"requests": requests, "metadata": {"name": "circles"}}).json()
    while client.get(f"/v1/batches/{batch['id']}").json()["state"] != "completed":
        pass
    changed = make(client, "a red circle moving left near a castle", seed=1, fps=24)
    return {
        "make": "make",
        "gallery": "gallery",
        "generation": f"generation/{changed['id']}",
        "compare": f"compare?ids={made[0]['id']},{made[1]['id']}",
        "batch": f"batch/{batch['id']}",
        "stats": "stats",
        "admin": "admin",
    }


def look(page: Page, url: str, view: str, target: Path) -> None:
    """Take the picture of a view."""
    page.goto(f"{url}/#/{view}")
    page.wait_for_selector("main h1")
    page.wait_for_timeout(1500)
    if view == "make":
        page.get_by_role("group", name="Examples").get_by_role("button").first.click()
        page.locator(".panel video").wait_for()
        page.wait_for_timeout(1500)
    page.screenshot(path=target)


def take(browser: Browser, client: httpx2.Client, folder: Path, *, everything: bool) -> None:
    """Take the pictures: of each view for the documents, or of each at every width, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    url = str(client.base_url).rstrip("/")
    for name, view in views(client).items():
        every = [(width, theme) for width in WIDTHS for theme in ("light", "dark")]
        shapes = every if everything else [("desk", "light")]
        for width, theme in shapes:
            page = browser.new_page(
                viewport={"width": WIDTHS[width] if everything else 1280, "height": HEIGHT},
                color_scheme="dark" if theme == "dark" else "light",
            )
            look(page, url, view, folder / f"page-{name}{f'-{width}-{theme}' if everything else ''}.png")
            page.close()


def main() -> None:
    """Read the command line and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every view at three widths, light and dark, there")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("error: Chromium is not installed (apt-get install chromium)")
    with service() as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        take(browser, client, arguments.all or IMAGES, everything=arguments.all is not None)
        browser.close()
    if arguments.all is None:
        DIGEST.write_text(f"{digest()}\n")


if __name__ == "__main__":
    main()
