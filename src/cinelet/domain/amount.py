"""Sizes in words."""

from __future__ import annotations


def amount(size_bytes: float) -> str:
    """Return bytes as text: "8.1 MB", "12.0 GB"."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 999_950_000 else f"{size_bytes / 1e6:.1f} MB"
