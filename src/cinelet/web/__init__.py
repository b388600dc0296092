"""The page: HTML, CSS and JavaScript modules without a build step, on the public HTTP interface alone."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
"""Where its files are; `index.html` is the page."""
