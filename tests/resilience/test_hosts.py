from __future__ import annotations

import pytest

from cinelet.domain.model import ModelReference
from cinelet.resilience import circuit_of, host_of


@pytest.mark.parametrize(
    ("model", "host", "circuit"),
    [
        ("hf:org/name:fal-ai", "fal-ai", "hf:org/name:fal-ai"),
        ("hf:org/name", "huggingface", "hf:org/name"),
        ("https://Abc.Endpoints.example:8443/v1?key=secret", "abc.endpoints.example:8443", None),
        ("openai:wan@http://engine:8000/v1", "engine:8000", "openai:wan@http://engine:8000/v1"),
    ],
)
def test_a_remote_model_is_counted_by_its_host_and_its_name(model: str, host: str, circuit: str | None) -> None:
    reference = ModelReference.parse(model)
    assert host_of(reference) == host
    assert circuit_of(reference) == (circuit or "https://Abc.Endpoints.example:8443/v1")


@pytest.mark.parametrize("model", ["org/name", "embedded", "local:org/name", "local:./folder", "plugin:name"])
def test_other_models_are_not_counted(model: str) -> None:
    reference = ModelReference.parse(model)
    assert (host_of(reference), circuit_of(reference)) == (None, None)
