"""Parts of a video: exactly those bytes that were asked for, whatever is asked."""

from __future__ import annotations

import email
import hashlib
import time
from dataclasses import dataclass

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from cinelet.api.ranges import range_of
from tests.api.served import made

ETAG, MODIFIED = '"it"', "Wed, 25 Nov 2026 12:00:00 GMT"


@dataclass
class Whole:
    """A video that the service has."""

    where: str
    content: bytes
    etag: str
    modified: str


@pytest.fixture(scope="module")
def whole(client: httpx2.Client) -> Whole:
    generation = made(client, seed=1)
    reply = client.get(generation["links"]["video"])
    assert reply.status_code == 200
    assert reply.headers["accept-ranges"] == "bytes"
    assert hashlib.sha256(reply.content).hexdigest() == generation["result"]["sha256"]
    assert len(reply.content) == generation["result"]["video_size"] > 1000
    return Whole(generation["links"]["video"], reply.content, reply.headers["etag"], reply.headers["last-modified"])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=0-9", slice(0, 10)),
        ("bytes=5-", slice(5, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=-999999999", slice(0, None)),
        ("bytes=100-999999999", slice(100, None)),
        ("BYTES = 3-4", slice(3, 5)),
        ("bytes=0-9,999999999-", slice(0, 10)),
        ("bytes=,0-9,", slice(0, 10)),
        ("bytes=0-9,10-19", slice(0, 20)),
    ],
)
def test_a_range_is_served_exactly(client: httpx2.Client, whole: Whole, asked: str, part: slice) -> None:
    reply = client.get(whole.where, headers={"range": asked})
    first, last, _ = part.indices(len(whole.content))
    assert reply.status_code == 206
    assert sha256(reply.content) == sha256(whole.content[part])
    assert reply.headers["content-range"] == f"bytes {first}-{last - 1}/{len(whole.content)}"
    assert reply.headers["content-length"] == str(last - first)
    assert (reply.headers["etag"], reply.headers["content-type"]) == (whole.etag, "video/mp4")


@pytest.mark.parametrize(
    "asked",
    ["bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-b", "bytes=9-0", "bytes=0-9,x", "items=0-9", "bytes=0x1-"],
)
def test_what_is_no_range_of_bytes_gets_the_whole(client: httpx2.Client, whole: Whole, asked: str) -> None:
    reply = client.get(whole.where, headers={"range": asked})
    assert (reply.status_code, sha256(reply.content)) == (200, sha256(whole.content))


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=999999999-,888888888-999999999", "bytes=-0"])
def test_what_lies_outside_is_said_with_the_size(client: httpx2.Client, whole: Whole, asked: str) -> None:
    reply = client.get(whole.where, headers={"range": asked})
    assert (reply.status_code, reply.headers["content-range"]) == (416, f"bytes */{len(whole.content)}")
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_several_ranges_come_in_one_reply(client: httpx2.Client, whole: Whole) -> None:
    reply = client.get(whole.where, headers={"range": "bytes=-5,0-9,100-149,140-159"})
    kind = reply.headers["content-type"]
    assert (reply.status_code, kind.partition(";")[0]) == (206, "multipart/byteranges")
    assert reply.headers["content-length"] == str(len(reply.content))
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + reply.content)
    parts = message.get_payload()
    assert isinstance(parts, list)
    size = len(whole.content)
    wanted = [(0, 10), (100, 160), (size - 5, size)]
    assert len(parts) == len(wanted)
    for part, (start, end) in zip(parts, wanted, strict=True):
        assert part["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.get_content_type() == "video/mp4"
    raw = reply.content.split(b"\r\n\r\n")[1:]
    for content, (start, end) in zip(raw, wanted, strict=True):
        assert sha256(content[: end - start]) == sha256(whole.content[start:end])


@pytest.mark.parametrize(("condition", "status"), [("etag", 206), ("modified", 206), ("other", 200), ("weak", 200)])
def test_a_range_of_another_file_gets_the_whole(
    client: httpx2.Client, whole: Whole, condition: str, status: int
) -> None:
    values = {"etag": whole.etag, "modified": whole.modified, "other": '"other"', "weak": f"W/{whole.etag}"}
    for asked in ("bytes=0-9", "bytes=999999999-"):
        reply = client.get(whole.where, headers={"range": asked, "if-range": values[condition]})
        if asked != "bytes=0-9" and status == 206:
            assert reply.status_code == 416
            continue
        assert reply.status_code == status
        assert sha256(reply.content) == sha256(whole.content[:10] if status == 206 else whole.content)


def test_what_is_known_is_not_sent_again(client: httpx2.Client, whole: Whole) -> None:
    for known in (whole.etag, f"W/{whole.etag}", f'"x", {whole.etag}', "*"):
        reply = client.get(whole.where, headers={"if-none-match": known, "range": "bytes=0-9"})
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", whole.etag)
    assert client.get(whole.where, headers={"if-none-match": '"x"'}).status_code == 200


@pytest.mark.parametrize("one", ["0-1", "{0}-{0}", "-{0}", "0-", "999999999-", "9-0", ""])
def test_two_thousand_ranges_cost_no_more_than_a_few(client: httpx2.Client, whole: Whole, one: str) -> None:
    asked = "bytes=" + ",".join(one.format(number) for number in range(1, 2001))
    seconds = []
    for _ in range(5):
        began = time.process_time()
        reply = client.get(whole.where, headers={"range": asked})
        seconds.append(time.process_time() - began)
        assert reply.status_code in {200, 206, 416}
        assert len(reply.content) <= len(whole.content)
    # Of the whole process: the service, its worker and the client.
    assert min(seconds) < 0.05, seconds


def parts_of(wanted: str, size: int) -> list[range] | None:
    """Return what a plain reading of the RFC says; None for the whole file."""
    found = []
    for one in wanted.split(","):
        first, _, last = one.partition("-")
        start, end = (int(first), int(last or size)) if first else (max(0, size - int(last)), size)
        if first and last and end < start:
            return None
        found.append(range(min(start, size), min(end + 1, size)))
    return [part for part in found if len(part)]


SPECIFICATIONS = st.one_of(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: f"{pair[0]}-{pair[1]}"),
    st.integers(0, 30).map(lambda first: f"{first}-"),
    st.integers(0, 30).map(lambda suffix: f"-{suffix}"),
)


@given(wanted=st.lists(SPECIFICATIONS, min_size=1, max_size=5).map(",".join), size=st.integers(0, 20))
def test_a_header_means_what_the_rfc_says(wanted: str, size: int) -> None:
    headers = Headers({"range": f"bytes={wanted}"})
    expected = parts_of(wanted, size)
    if expected == []:
        with pytest.raises(HTTPException):
            range_of(headers, size=size, etag=ETAG, modified=MODIFIED)
        return
    found = range_of(headers, size=size, etag=ETAG, modified=MODIFIED)
    assert (found is None) == (expected is None)
    if found is not None:
        assert parts_of(found.removeprefix("bytes="), size) == expected


@given(header=st.text(st.characters(codec="latin-1"), max_size=40))
def test_no_header_breaks_anything(header: str) -> None:
    headers = Headers(raw=[(b"range", header.encode("latin-1"))])
    found = range_of(headers, size=10, etag=ETAG, modified=MODIFIED)
    assert found is None or found.startswith("bytes=")
