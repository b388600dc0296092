"""Reads the project's documents: their code, their headings, their links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for pattern in ("*.md", "docs/**/*.md", "*/README.md") for path in ROOT.glob(pattern))

_FENCE = re.compile(r"^```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]+) -->\s*\Z")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Fenced code. line: where it begins in the document, from 1. not_run: the reason that the text gives, if any."""

    language: str
    code: str
    line: int
    not_run: str | None


@dataclass(frozen=True, slots=True)
class Command:
    """A line after "$ ", and the lines of output that the text shows under it."""

    line: str
    shown: str


def code_blocks(path: Path) -> Iterator[CodeBlock]:
    """Yield the fenced code of a document, in its order."""
    text = path.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        mark = _NOT_RUN.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 2
        yield CodeBlock(match["language"], match["code"], line, mark["reason"] if mark else None)


def commands(block: CodeBlock) -> Iterator[Command]:
    """Yield the commands of a console block; a line that ends with a backslash goes on in the next."""
    for part in re.split(r"^\$ ", block.code.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        yield Command(line, shown)


def prose(path: Path) -> str:
    """Return a document without its fenced code."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def headings(path: Path) -> list[str]:
    """Return the headings of a document, without code marks."""
    return [heading.replace("`", "") for heading in _HEADING.findall(prose(path))]


def anchors(path: Path) -> set[str]:
    """Return what a link to a heading of the document may say after the "#"."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(path)}


def links(path: Path) -> list[str]:
    """Return the targets of a document's links and pictures."""
    return [markdown or html for markdown, html in _LINK.findall(prose(path))]
