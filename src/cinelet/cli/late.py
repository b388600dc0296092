"""Groups of commands that are loaded when one of them is used: `cinelet --help` names the groups alone."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


def group_of(module: str, summary: str) -> typer.Typer:
    """Return the group of a module of this package, not yet loaded. summary: its line in the help."""

    class Late(TyperGroup):
        _loaded: Any = None

        @property
        def commands(self) -> Any:
            if self._loaded is None:
                self._loaded = typer.main.get_group(import_module(f"cinelet.cli.{module}").app).commands
            return self._loaded

        @commands.setter
        def commands(self, value: Any) -> None:
            """Take none: the class above sets its own, which are empty."""

    return typer.Typer(cls=Late, help=summary, rich_markup_mode=None)
