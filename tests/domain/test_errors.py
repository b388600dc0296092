from __future__ import annotations

import inspect

import pytest

from cinelet.domain import errors
from cinelet.domain.errors import (
    AllModelsFailedError,
    CineletError,
    FileSizeError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ProcessingError,
    RateLimitError,
    ValidationError,
)

EVERY_ERROR = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, CineletError)]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in EVERY_ERROR]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_the_tree_in_the_documentation_names_every_error(error: type[CineletError]) -> None:
    assert error.__name__ in str(errors.__doc__)


def test_an_error_tells_a_program_its_facts() -> None:
    error = RateLimitError("Slow down", status=429, provider="fal-ai", retry_after=3)
    assert error.to_dict() == {
        "code": "rate_limited",
        "message": "Slow down",
        "retryable": True,
        "status": 429,
        "provider": "fal-ai",
        "retry_after": 3,
    }
    assert isinstance(error, HuggingFaceAPIError)


def test_a_file_size_error_is_a_validation_error_with_numbers() -> None:
    error = FileSizeError(5_000_000, 1_000, "image")
    assert isinstance(error, ValidationError)
    assert str(error) == "The image has 5,000,000 bytes; at most 1,000 are allowed"
    assert error.to_dict()["limit"] == 1000


def test_a_group_holds_each_models_cause_and_can_be_split() -> None:
    group = AllModelsFailedError("Both failed", [ModelNotFoundError("a"), RateLimitError("b")])
    assert str(group) == group.message == "Both failed"
    assert group.retryable
    assert [cause["code"] for cause in group.to_dict()["causes"]] == ["model_not_found", "rate_limited"]
    missing = group.subgroup(ModelNotFoundError)
    assert isinstance(missing, AllModelsFailedError)
    assert not missing.retryable


def test_a_group_is_caught_as_our_error() -> None:
    with pytest.raises(CineletError):
        raise AllModelsFailedError("Failed", [ProcessingError("x", "denoising")])


def test_a_message_with_half_a_character_can_be_written() -> None:
    error = HuggingFaceAPIError("The host said \ud83d and ü")
    assert str(error) == error.to_dict()["message"] == "The host said ? and ü"
    str(error).encode()
