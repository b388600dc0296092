"""LoRAs as clients of other engines write them."""

from __future__ import annotations

from typing import Any

import pytest

from cinelet.api.lora_field import is_lora, loras_of_fields
from cinelet.domain.errors import ValidationError

HALF = [{"path": "org/x", "scale": 0.5}]


@pytest.mark.parametrize(
    ("fields", "loras"),
    [
        ([("lora", '[{"path": "org/x", "scale": 0.5}]')], HALF),
        ([("lora", HALF)], HALF),
        ([("lora", '{"name": "x", "path": "org/x", "scale": 0.5, "int_id": 1}')], HALF),
        ([("lora[path]", "org/x"), ("lora[scale]", "0.5")], HALF),
        ([("lora[name]", "x"), ("lora[scale]", "0.5"), ("lora[path]", "org/x"), ("lora[int_id]", "1")], HALF),
        (
            [("loras[][path]", "org/x"), ("loras[][scale]", "0.5"), ("loras[][path]", "org/y")],
            [*HALF, {"path": "org/y"}],
        ),
        ([("lora[0][path]", "org/x"), ("lora[1][path]", "org/y")], [{"path": "org/x"}, {"path": "org/y"}]),
        ([("lora", "3")], [3]),
        ([], []),
    ],
)
def test_every_way_of_writing_it_says_the_same(fields: list[tuple[str, Any]], loras: list[Any]) -> None:
    assert all(is_lora(name) for name, _ in fields)
    assert loras_of_fields(fields) == loras


@pytest.mark.parametrize(
    "fields", [[("lora", "org/x")], [("lora", "[" * 100_000)], [("lora[path]", "org/x"), ("lora[scale]", "much")]]
)
def test_what_cannot_be_read_is_refused_by_the_fields_name(fields: list[tuple[str, Any]]) -> None:
    with pytest.raises(ValidationError) as refused:
        loras_of_fields(fields)
    assert set(refused.value.details) == {"lora"}


@pytest.mark.parametrize("name", ["lora[file]", "lor", "lora[path][x]", "LORA"])
def test_no_other_field_is_one(name: str) -> None:
    assert not is_lora(name)
