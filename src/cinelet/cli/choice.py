"""The options that say which of several models is to be taken."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Prefer = Annotated[
    Literal["ordered", "fastest", "most_reliable", "cheapest", "balanced"] | None,
    typer.Option("--prefer", help="How the models that can do it are ordered; by default as configured."),
]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", help="Leave out models that are expected to cost more than this.")
]
MaxSeconds = Annotated[
    float | None, typer.Option("--max-seconds", help="Leave out models that are expected to take longer than this.")
]
