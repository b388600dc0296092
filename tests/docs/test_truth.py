"""What the documents name exists, and what exists is documented."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from cinelet.cli.app import app
from cinelet.config import Config
from cinelet.domain import errors
from tests.docs.documents import DOCUMENTS, ROOT, anchors, code_blocks, headings, links

DOCS = ROOT / "docs"
SETTINGS = {setting.name for setting in Config().settings()}
ERRORS = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.CineletError)]


def options_by_command() -> dict[str, set[str]]:
    """Return the options of each command, by its whole name: "models show"."""

    def walk(command: object, name: str) -> Iterator[tuple[str, set[str]]]:
        options = {option for parameter in getattr(command, "params", []) for option in parameter.opts}
        yield name, {option for option in options if option.startswith("--")}
        for child, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{name} {child}".strip())

    return dict(walk(typer.main.get_command(app), ""))


COMMANDS = options_by_command()
PLAIN = {"--help", "--install-completion", "--show-completion"}


def commands_named(text: str) -> Iterator[tuple[str, str]]:
    """Yield (command, rest of the line) wherever a text shows a use of `cinelet`."""
    for match in re.finditer(r"(?:^|[`$ /])cinelet ((?:[a-z]+)(?: [a-z]+)?)([^`\n]*)", text, re.MULTILINE):
        words = match[1].split()
        whole = match[1] if match[1] in COMMANDS else words[0]
        if whole in COMMANDS or "$ cinelet" in match[0] or "`cinelet" in match[0]:
            yield whole, match[0]


def test_each_setting_has_a_heading() -> None:
    documented = {heading for heading in headings(DOCS / "13-configuration.md") if heading.isupper()}
    assert documented == SETTINGS


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_each_error_is_documented_with_its_code(error: type[errors.CineletError]) -> None:
    text = (DOCS / "12-errors.md").read_text(encoding="utf-8")
    assert f"`{error.__name__}`" in text
    assert f"`{error.code}`" in text


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {""}))
def test_each_command_and_option_is_documented(command: str) -> None:
    text = (DOCS / "03-command-line.md").read_text(encoding="utf-8")
    assert f"cinelet {command}" in text
    missing = [option for option in COMMANDS[command] - PLAIN - {"--debug"} if f"`{option}" not in text]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_command_that_a_document_shows_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for command, line in commands_named(text):
        assert command in COMMANDS, f"there is no cinelet {command}"
        unquoted = re.sub(r"\"[^\"]*\"|'[^']*'", "", line)
        unknown = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", unquoted)) - COMMANDS[command] - COMMANDS[""]
        assert unknown == set(), f"{command} has no such option: {line}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_link_leads_somewhere(path: Path) -> None:
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{link} does not exist"
        assert target.is_relative_to(ROOT), f"{link} leads out of the project"
        if anchor:
            assert anchor in anchors(target), f"{link} names no heading"


def test_each_make_target_that_a_document_shows_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        shown = re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert {first or second for first, second in shown} <= targets


def test_the_documents_are_numbered_in_reading_order() -> None:
    numbers = [int(path.name.partition("-")[0]) for path in sorted(DOCS.glob("*.md"))]
    assert numbers == list(range(len(numbers)))


def test_each_document_is_reached_from_the_overview() -> None:
    reached = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "00-overview.md")}
    assert {path.resolve() for path in DOCS.glob("*.md")} - {(DOCS / "00-overview.md").resolve()} <= reached


def test_no_document_shows_a_language_that_is_never_run_without_need() -> None:
    """`sh` is for what sets up or needs a repository; everything that can run is `console` or `python`."""
    for path in DOCUMENTS:
        for block in code_blocks(path):
            if block.language == "sh":
                assert not re.search(r"^cinelet ", block.code, re.MULTILINE), f"{path.name}:{block.line}"
