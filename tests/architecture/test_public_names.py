"""What is public is in `__all__`, and says what it is."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import cinelet
import cinelet.testing

PUBLIC_MODULES = (cinelet, cinelet.testing)
PUBLIC_NAMES = [(module, name) for module in PUBLIC_MODULES for name in module.__all__ if name != "__version__"]


def members(value: type) -> Iterator[tuple[str, Any]]:
    """Yield what a class of ours adds to its bases: methods and properties with a public name."""
    for name, member in vars(value).items():
        of_interest = inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))
        inherited = any(hasattr(base, name) for base in value.__bases__)
        if of_interest and not name.startswith(("_", "test_")) and not inherited:
            yield name, member


@pytest.mark.parametrize("module", PUBLIC_MODULES, ids=lambda module: module.__name__)
def test_the_public_names_are_sorted_and_found_by_dir(module: ModuleType) -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= {*dir(module), "BackendContract", "ContractCase"}
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize(("module", "name"), PUBLIC_NAMES, ids=[name for _, name in PUBLIC_NAMES])
def test_a_public_name_says_what_it_is(module: ModuleType, name: str) -> None:
    value = getattr(module, name)
    assert (inspect.getdoc(value) or "").strip(), f"{name} has no docstring"
    if inspect.isclass(value) and value.__module__.startswith("cinelet"):
        undocumented = [member for member, found in members(value) if not (inspect.getdoc(found) or "").strip()]
        assert undocumented == [], f"{name} has members without a docstring"


def test_a_public_error_is_one_of_the_tree() -> None:
    errors = importlib.import_module("cinelet.domain.errors")
    tree = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert tree <= set(cinelet.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(cinelet, "no_such_name")  # noqa: B009  (mypy would refuse the plain form)
