"""However many names users think of, a process keeps few apart."""

from __future__ import annotations

import pytest

from cinelet.observability.bounded_names import MAX_CHARACTERS, BoundedNames, ModelNames


@pytest.fixture
def providers() -> BoundedNames:
    names = BoundedNames(3)
    names.learn("fal-ai")
    return names


@pytest.fixture
def models(providers: BoundedNames) -> ModelNames:
    return ModelNames(4, providers=providers)


def test_the_first_names_are_kept_and_the_rest_is_other():
    names = BoundedNames(2)
    assert [names.label(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]


def test_a_name_that_was_only_asked_for_takes_no_room():
    names = BoundedNames(1)
    assert names.label_of_known("a") == "other"
    assert names.label("b") == "b"


def test_a_label_is_short():
    assert len(BoundedNames(1).label("x" * 500)) == MAX_CHARACTERS


def test_a_model_that_nobody_configured_and_that_did_nothing_is_other(models):
    assert models.label("hf:org/invented:fal-ai") == "other"


def test_a_configured_model_is_known_wherever_it_runs(models):
    models.learn("org/name")
    assert models.label("org/name") == "org/name"
    assert models.label("hf:org/name:fal-ai") == "hf:org/name:fal-ai"
    assert models.label("local:org/name") == "local:org/name"


def test_a_configured_model_at_an_invented_provider_is_other(models):
    models.learn("org/name")
    assert models.label("hf:org/name:invented") == "other"


def test_the_ways_of_known_models_have_an_end_too(models):
    for name in "abcdefgh":
        models.learn(f"org/{name}")
    ways = {models.label(f"{scheme}:org/{name}") for name in "abcdefgh" for scheme in ("hf", "local")}
    assert ways == {"other"}
    assert models.label("org/a") == "org/a"


def test_a_key_in_the_address_of_an_endpoint_is_no_label(models):
    models.learn("https://host.example/path?api_key=secret")
    assert models.label("https://host.example/path?api_key=another") == "https://host.example/path"


def test_what_is_no_reference_is_other(models):
    assert models.label("\n") == "other"
