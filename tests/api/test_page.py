"""The files of the page: everything is served from here, and nothing in them can run what is not one of them."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest

from cinelet.web import FOLDER

FILES = sorted(
    path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.suffix in {".js", ".css", ".svg"}
)


def test_the_page_is_there_for_everybody_and_may_run_its_own_scripts_alone(client: httpx2.Client) -> None:
    reply = client.get("/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(rule.split(" ", 1) for rule in reply.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=|<style|style=", reply.text)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_page_is_served_with_its_kind_and_once(client: httpx2.Client, name: str) -> None:
    reply = client.get(f"/web/{name}")
    kind = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}[Path(name).suffix]
    assert (reply.status_code, reply.headers["content-type"].partition(";")[0]) == (200, kind)
    assert reply.content == (FOLDER / name).read_bytes()
    assert client.get(f"/web/{name}", headers={"if-none-match": reply.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    elsewhere = re.findall(r"""(?:from|import|src|href|url)\s*[(=]?\s*["'(](?:https?:)?//[^"')]+""", text)
    assert elsewhere == []
    assert (
        not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
        or "vendor" in name
    )


@pytest.mark.parametrize(
    "path",
    [
        "../cli/app.py",
        "%2e%2e/cli/app.py",
        "..%2fcli%2fapp.py",
        "__init__.py",
        "vendor",
        "vendor/README.md",
        "no.js",
        "a%00.js",
    ],
)
def test_no_other_file_is_served(client: httpx2.Client, path: str) -> None:
    reply = client.get(f"/web/{path}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
