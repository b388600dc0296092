from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.observability.redaction import private, redact, redact_value


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("token hf_AbCdEf0123456789", "AbCdEf"),
        ("key cin_AbC-dEf_0123456789", "dEf_0123"),
        ("key sk-proj-abcdefghijklmnop", "abcdefghij"),
        ("r8_abcdefghijklmnopqrstuv", "abcdefghij"),
        ("12345678-1234-1234-1234-123456789abc:0123456789abcdef0123456789abcdef", "0123456789abcdef0123"),
        ("Authorization: Bearer abc.def-ghi", "abc.def"),
        ("{'authorization': 'Key s3cretvalue'}", "s3cret"),
        ('{"Authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
        ("x-api-key: s3cretvalue", "s3cret"),
        ("HF_TOKEN=s3cretvalue", "s3cret"),
        ('{"password": "s3cret"}', "s3cret"),
        ("postgresql://user:s3cret@host/db", "s3cret"),
        ("https://s.example/v.mp4?X-Amz-Credential=s3cret%2F1&X-Amz-Signature=0ff", "s3cret"),
        ("https://s.example/v.mp4?a=1&Signature=s3cret&Key-Pair-Id=1", "s3cret"),
        ("https://s.example/v.mp4?sv=1&sig=s3cret", "s3cret"),
        ("https://s.example/v.mp4?token=s3cret#top", "s3cret"),
    ],
)
def test_a_secret_is_taken_out(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text", ["https://host.example/a?page=2", "8 tokens used", "the key to success", "a/b-c", "sk-8 road", "50 % of 3"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=80))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_private_texts_are_hidden_inside_only() -> None:
    with private("a cat", None, " "):
        assert redact("drew 'a cat' badly") == "drew '<prompt>' badly"
        assert redact("a category") == "a category"
    assert redact("a cat") == "a cat"


def test_a_prompt_is_hidden_in_its_escaped_form_too() -> None:
    prompt = 'line one\n"two"'
    with private(prompt):
        assert "two" not in redact(f"bad input {prompt!r}")


def test_tasks_and_threads_inherit_private_texts_and_others_do_not() -> None:
    async def hidden(prompt: str) -> str:
        with private(prompt):
            return await asyncio.to_thread(redact, "one fish and two fish")

    async def both() -> tuple[str, str]:
        one, two = await asyncio.gather(hidden("one fish"), hidden("two fish"))
        return one, two

    assert asyncio.run(both()) == ("<prompt> and two fish", "one fish and <prompt>")


def test_values_inside_lists_and_objects_are_redacted() -> None:
    class Odd:
        def __str__(self) -> str:
            return "Bearer abcdefghijk"

    assert redact_value([Odd(), {"secret": "x", "n": None}]) == ["Bearer ***", {"secret": "***", "n": None}]
