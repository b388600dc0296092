from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ModelUnsupportedError,
    PaymentRequiredError,
    RateLimitError,
    ValidationError,
)
from cinelet.observability.quoting import host_text
from cinelet.observability.redaction import private
from cinelet.transport.replies import (
    exchange,
    json_object,
    refusal,
    request_id_of,
    retry_after_seconds,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "detail", "loc", "x"]), inner)
    ),
    max_leaves=8,
)
NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


def answered(status: int, body: object = "", **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return httpx2.Response(status, content=content, headers={k.replace("_", "-"): v for k, v in headers.items()})


class TestRetryAfter:
    @settings(deadline=None)  # the machine may be busy
    @given(st.integers(0, 10**9))
    def test_seconds_are_taken_as_they_are(self, seconds: int) -> None:
        assert retry_after_seconds({"retry-after": f" {seconds} "}) == seconds

    @settings(deadline=None)  # the machine may be busy
    @given(st.timedeltas(timedelta(days=-400), timedelta(days=400)))
    def test_a_date_is_the_time_until_then_and_never_negative(self, distance: timedelta) -> None:
        date = (NOW + distance).replace(microsecond=0)
        found = retry_after_seconds({"retry-after": format_datetime(date, usegmt=True)}, now=NOW)
        assert found == max(0.0, (date - NOW).total_seconds())

    @settings(deadline=None)  # the machine may be busy
    @given(st.text(max_size=60))
    def test_no_text_is_negative_or_breaks_it(self, text: str) -> None:
        for header in ("retry-after", "ratelimit"):
            found = retry_after_seconds({header: text})
            assert found is None or 0 <= found < float("inf")

    @pytest.mark.parametrize(
        "date", ["Wed, 25 Nov 2026 12:01:00 GMT", "Wed, 25 Nov 2026 12:01:00 -0000", "25 Nov 2026 13:01:00 +0100"]
    )
    def test_a_date_in_any_zone_is_understood(self, date: str) -> None:
        assert retry_after_seconds({"retry-after": date}, now=NOW) == 60

    def test_the_header_is_found_whatever_its_case(self) -> None:
        assert retry_after_seconds(httpx2.Headers({"Retry-After": "7"})) == 7

    @pytest.mark.parametrize(
        "text", ["", "soon", "-5", "nan", "inf", "1e400", "9" * 400, "١٢", "Wed, 99 Foo 2026 12:00:00 GMT"]
    )
    def test_what_cannot_be_read_asks_for_nothing(self, text: str) -> None:
        assert retry_after_seconds({"retry-after": text}) is None

    def test_the_hubs_quota_says_when_it_is_renewed(self) -> None:
        assert retry_after_seconds({"ratelimit": '"api";r=0;t=55'}) == 55
        assert retry_after_seconds({"ratelimit": '"api";r=0;t=55', "retry-after": "3"}) == 3


class TestRequestId:
    @pytest.mark.parametrize("name", ["x-request-id", "x-fal-request-id", "x-amzn-trace-id", "cf-ray"])
    def test_each_hosts_header_is_found(self, name: str) -> None:
        assert request_id_of(httpx2.Headers({name: "abc-123"})) == "abc-123"

    def test_it_is_bounded_and_on_one_line(self) -> None:
        assert request_id_of({"x-request-id": "a" * 5000}) == "a" * 200
        assert request_id_of({"x-request-id": "a\nb"}) is None
        assert request_id_of({}) is None


class TestJson:
    @pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"text"', b"{", b"\xff\xfe", b"null", b"[" * 100_000])
    def test_only_an_object_counts(self, body: bytes) -> None:
        assert json_object(answered(200, body)) is None

    def test_an_object_is_returned(self) -> None:
        assert json_object(answered(200, '{"id": "é"}')) == {"id": "é"}


class TestHostText:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"error": "no room"}, "no room"),
            ({"error": {"message": "no room", "code": "x"}}, "no room"),
            ({"detail": "no room"}, "no room"),
            ({"detail": [{"loc": ["body", "seconds"], "msg": "too long"}]}, "body.seconds: too long"),
            ({"errors": [{"message": "a"}, {"message": "b"}]}, "a; b"),
            ({"message": "no\nroom\u2028at all"}, "no room at all"),
            ({"title": None, "error": {}, "reason": "why"}, "why"),
            ("plain words", "plain words"),
            ({"error": {"error": {"error": {"error": {"error": "deep"}}}}}, ""),
            ([], ""),
            (7, ""),
        ],
    )
    def test_the_words_of_every_shape_are_found(self, body: object, words: str) -> None:
        assert host_text(body) == words

    def test_it_is_short(self) -> None:
        assert len(host_text("x" * 5000)) == 300

    def test_secrets_prompts_and_signed_links_are_taken_out(self) -> None:
        said = "token hf_abcdefghijkl and mykey42 for 'a red fox' at https://cdn.example/v?X-Amz-Signature=abc&b=c done"
        with private("a red fox"):
            text = host_text({"error": said}, secrets=["mykey42", ""])
        assert text == "token *** and *** for '<prompt>' at https://cdn.example/v done"

    def test_a_prompt_is_taken_out_before_the_text_is_cut(self) -> None:
        prompt = "a very private idea " * 20
        with private(prompt):
            assert "private idea" not in host_text(f"refused: {prompt.strip()}")

    @settings(deadline=None)  # the machine may be busy
    @given(JSON)
    def test_no_json_breaks_it(self, value: object) -> None:
        text = host_text(value)
        assert len(text) <= 300
        assert text.isprintable()


class TestRefusal:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            *((400, ValidationError), (413, ValidationError), (422, ValidationError)),
            *((401, AuthenticationError), (403, AuthenticationError)),
            *((402, PaymentRequiredError), (404, ModelNotFoundError), (429, RateLimitError)),
            *((301, ModelUnsupportedError), (405, ModelUnsupportedError), (409, ModelUnsupportedError)),
            *((500, HuggingFaceAPIError), (503, HuggingFaceAPIError)),
        ],
    )
    def test_each_status_is_an_error_of_its_kind(self, status: int, kind: type[CineletError]) -> None:
        response = answered(status, {"error": "because"}, x_request_id="r-1", retry_after="9")
        error = refusal(response, what="hf:org/model", provider="fal-ai")
        assert type(error) is kind
        assert "because" in str(error)
        assert "hf:org/model" in str(error)
        assert "fal-ai" in str(error)
        assert "\n" not in str(error)
        if isinstance(error, HuggingFaceAPIError):
            known = (error.status, error.provider, error.request_id, error.retry_after, error.accepted)
            assert known == (status, "fal-ai", "r-1", 9.0, False)

    @pytest.mark.parametrize("status", [302, 400, 404, 405, 410, 422, 500])
    def test_a_refusal_of_an_accepted_job_is_a_failure_of_the_host(self, status: int) -> None:
        error = refusal(answered(status), what="the video", provider="fal-ai", accepted=True)
        assert type(error) is HuggingFaceAPIError
        assert (error.accepted, error.status) == (True, status)

    @pytest.mark.parametrize("status", [401, 402, 429])
    def test_what_the_account_lacks_keeps_its_kind_for_an_accepted_job(self, status: int) -> None:
        error = refusal(answered(status), what="the video", provider="fal-ai", accepted=True)
        assert type(error) is not HuggingFaceAPIError
        assert isinstance(error, HuggingFaceAPIError)
        assert error.accepted

    def test_a_refused_request_may_say_that_the_model_is_what_is_wrong(self) -> None:
        said = {"error": {"message": "no such model", "code": "model_not_found", "param": "model"}}
        assert type(refusal(answered(400, said), what="m", provider="p")) is ModelNotFoundError

    def test_the_details_of_a_refused_request_hold_the_hosts_words(self) -> None:
        error = refusal(answered(422, {"detail": "seconds: too long"}), what="m", provider="p")
        assert isinstance(error, ValidationError)
        assert error.details == {"request": "seconds: too long"}
        assert refusal(answered(400), what="m", provider="p").facts()["details"] == {
            "request": "Refused with status 400"
        }

    @pytest.mark.parametrize("page", ["<!doctype html><h1>Bad gateway", " <?xml?><Error>AKIA</Error>", "a\0b"])
    def test_pages_are_not_quoted(self, page: str) -> None:
        error = refusal(answered(503, page), what="m", provider="p")
        assert str(error) == "p failed at m (status 503); try again later"


class TestExchange:
    async def _exchange(self, response: httpx2.Response, *, max_bytes: int = 1000) -> httpx2.Response:
        transport = httpx2.MockTransport(lambda _: response)
        async with httpx2.AsyncClient(transport=transport) as client:
            return await exchange(client, client.build_request("GET", "https://host.example/"), max_bytes=max_bytes)

    def run(self, response: httpx2.Response, *, max_bytes: int = 1000) -> httpx2.Response:
        import asyncio

        return asyncio.run(self._exchange(response, max_bytes=max_bytes))

    def test_a_compressed_reply_is_read(self) -> None:
        packed = httpx2.Response(
            200, headers={"content-encoding": "gzip"}, stream=httpx2.ByteStream(gzip.compress(b"{}"))
        )
        assert json_object(self.run(packed)) == {}

    def test_a_success_without_end_is_no_reply(self) -> None:
        with pytest.raises(httpx2.DecodingError):
            self.run(httpx2.Response(200, content=b"x" * 1001))

    def test_a_bomb_is_counted_as_it_unfolds(self) -> None:
        bomb = gzip.compress(b"0" * 1_000_000)
        with pytest.raises(httpx2.DecodingError):
            self.run(httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=httpx2.ByteStream(bomb)))

    def test_a_long_refusal_is_still_a_refusal(self) -> None:
        assert self.run(httpx2.Response(503, content=b"x" * 5000)).status_code == 503
