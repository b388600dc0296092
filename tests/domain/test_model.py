from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.domain.errors import ValidationError
from cinelet.domain.model import MAX_REFERENCE_CHARACTERS, ModelReference

names = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_]{0,20})?", fullmatch=True)
hub_ids = st.builds("{}/{}".format, names, names)
hosts = st.from_regex(r"[a-z]{1,10}\.example(:[1-9][0-9]{0,3})?", fullmatch=True)
references = st.one_of(
    st.just("embedded"),
    hub_ids,
    hub_ids.map("hf:{}".format),
    st.builds("hf:{}:{}".format, hub_ids, st.from_regex(r"[a-z0-9][a-z0-9-]{0,10}", fullmatch=True)),
    hub_ids.map("local:{}".format),
    st.text(string.ascii_letters + string.digits + " ._-/é模", min_size=1, max_size=40).map("local:./x{}x".format),
    hosts.map("https://{}/path".format),
    st.builds("openai:{}@https://{}/v1".format, names, hosts),
    st.builds("plugin{}:{}".format, st.sampled_from("abc"), names),
)


@given(references)
def test_a_reference_reads_back_from_its_own_text(text: str) -> None:
    reference = ModelReference.parse(text)
    assert str(reference) == text
    assert ModelReference.parse(str(reference)) == reference


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_a_validation_error(text: str) -> None:
    refusal: ValidationError | None = None
    try:
        reference = ModelReference.parse(text)
    except ValidationError as error:
        refusal = error
    else:
        assert ModelReference.parse(str(reference)) == reference
    if refusal is not None:
        assert set(refusal.details) == {"model"}
        assert "\n" not in refusal.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", ModelReference("hub", "org/name")),
        ("hf:org/name:fal-ai", ModelReference("hf", "org/name", provider="fal-ai")),
        ("local:org/name", ModelReference("local", "org/name")),
        ("local:./folder", ModelReference("local", "./folder", is_directory=True)),
        ("local:/models/a b", ModelReference("local", "/models/a b", is_directory=True)),
        ("local:C:\\models", ModelReference("local", "C:\\models", is_directory=True)),
        ("local:folder", ModelReference("local", "folder", is_directory=True)),
        ("https://host.example/x", ModelReference("endpoint", "https://host.example/x", url="https://host.example/x")),
        ("openai:m@http://host:8000/v1", ModelReference("openai", "m", url="http://host:8000/v1")),
        ("  embedded ", ModelReference("embedded", "embedded")),
        ("mine:anything:at all", ModelReference("mine", "anything:at all")),
    ],
)
def test_each_form_names_what_it_says(text: str, expected: ModelReference) -> None:
    assert ModelReference.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("x" * (MAX_REFERENCE_CHARACTERS + 1), "too long"),
        ("a/b\nc", "not printable"),
        ("name", "neither a Hub id nor a scheme"),
        ("./folder", "a directory is written local:./folder"),
        ("a/b/c", "neither"),
        ("org/na--me", "without --"),
        ("hf:name", "org/name"),
        ("hf:org/name:FAL!", "provider"),
        ("openai:name", "openai:name@https://host/v1"),
        ("openai:name@ftp://host", "needs https://"),
        ("https://host:99999/", "broken"),
        ("hub:org/name", "not a scheme"),
        ("mine:", "nothing follows"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelReference.parse(text)
    assert why in str(caught.value)
    assert "embedded" in str(caught.value), "the message gives the grammar"


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        ModelReference.parse("https://user:s3cret@host.example/x")
    assert "s3cret" not in str(caught.value)
