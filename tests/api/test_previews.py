"""Pictures over HTTP: where they are, in which format, what is known already, and whom the store sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from cinelet import assembly
from cinelet.jobs.durable import DurableJobs
from cinelet.storage.blobs import open_store
from cinelet.testing import FakeBackend
from tests.api.served import Served, made
from tests.storage.bucket_server import BUCKET, bucket_server, options


@pytest.fixture(scope="module")
def generation(client: httpx2.Client) -> dict[str, Any]:
    return made(client, seed=1, width=640, height=360, duration=2)


def opened(reply: httpx2.Response) -> Image.Image:
    assert reply.status_code == 200, reply.text
    return Image.open(BytesIO(reply.content))


def test_a_generation_says_where_everything_is(client: httpx2.Client, generation: dict[str, Any]) -> None:
    links = generation["links"]
    where = f"/v1/generations/{generation['id']}"
    names = {"self", "events", "video", "thumbnail", "spritesheet"}
    assert links.pop("image") is None
    assert links.pop("preview") is None
    assert links == {name: where if name == "self" else f"{where}/{name}" for name in names}
    for link in links.values():
        assert client.get(link).status_code == 200


def test_what_is_not_made_has_no_links_to_it_and_no_picture(client: httpx2.Client, backend: FakeBackend) -> None:
    backend.step_seconds = 1
    try:
        waiting = client.post("/v1/text-to-video", json={"prompt": "slow", "duration": 1}).json()
        assert [waiting["links"][name] for name in ("video", "thumbnail", "spritesheet")] == [None] * 3
        where = waiting["links"]["self"]
        replies = [client.get(f"{where}/{name}") for name in ("video", "thumbnail", "spritesheet")]
        assert {reply.status_code for reply in replies} == {409}
        assert {reply.json()["error"]["message"].partition(", so")[2] for reply in replies} == {" there is no video"}
        client.post(f"{where}/cancel")
    finally:
        backend.step_seconds = 0


def test_the_pictures_are_as_the_result_says(client: httpx2.Client, generation: dict[str, Any]) -> None:
    thumbnail, sheet = generation["result"]["thumbnail"], generation["result"]["spritesheet"]
    with opened(client.get(generation["links"]["thumbnail"])) as image:
        assert (image.format, image.width, image.height) == ("WEBP", thumbnail["width"], thumbnail["height"])
    reply = client.get(generation["links"]["spritesheet"])
    with opened(reply) as image:
        assert image.size == (sheet["columns"] * sheet["cell_width"], sheet["rows"] * sheet["cell_height"])
        assert image.format == "WEBP"
    assert (sheet["frames"], sheet["columns"], sheet["rows"], sheet["interval_seconds"]) == (8, 5, 2, 0.25)
    told = {name: float(reply.headers[f"x-cinelet-{name.replace('_', '-')}"]) for name in sheet}
    assert told == sheet


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/webp"),
        ("image/jpeg", "image/jpeg"),
        ("image/jpeg, */*;q=0.5", "image/jpeg"),
        ("image/webp;q=0.5, image/jpeg;q=0.9", "image/jpeg"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/webp"),
        ("image/*", "image/webp"),
        ("image/jpeg;q=0, image/webp;q=0.1", "image/webp"),
        ("image/jpeg;q=nan", "image/webp"),
        ("image/jpeg;q=1.5,;=,,", "image/webp"),
        ("application/json", "image/webp"),
    ],
)
def test_a_thumbnail_is_webp_unless_jpeg_is_wanted_more(
    client: httpx2.Client, generation: dict[str, Any], accept: str, kind: str
) -> None:
    reply = client.get(generation["links"]["thumbnail"], headers={"accept": accept})
    assert (reply.headers["content-type"], reply.headers["vary"]) == (kind, "accept")
    with opened(reply) as image:
        assert f"image/{str(image.format).lower()}" == kind


def test_what_is_known_is_not_sent_again_and_each_format_is_another(
    client: httpx2.Client, generation: dict[str, Any]
) -> None:
    where = generation["links"]["thumbnail"]
    jpeg = {"accept": "image/jpeg"}
    webp, other = client.get(where), client.get(where, headers=jpeg)
    assert webp.headers["etag"] != other.headers["etag"]
    assert webp.headers["cache-control"] == "private, immutable"
    assert webp.headers["x-content-type-options"] == "nosniff"
    assert webp.headers["content-disposition"] == f'inline; filename="{generation["id"]}.webp"'
    same = client.get(where, headers={"if-none-match": webp.headers["etag"]})
    assert (same.status_code, same.headers["vary"]) == (304, "accept")
    assert client.get(where, headers={**jpeg, "if-none-match": webp.headers["etag"]}).status_code == 200


def test_the_variants_of_a_videos_content_are_the_same_files(client: httpx2.Client, generation: dict[str, Any]) -> None:
    where = f"/v1/videos/{generation['id']}/content"
    assert client.get(where).content == client.get(generation["links"]["video"]).content
    for variant in ("video", "thumbnail", "spritesheet"):
        reply = client.get(where, params={"variant": variant})
        assert reply.content == client.get(generation["links"][variant]).content
    assert client.get(where, params={"variant": "poster"}).status_code == 422


def test_a_deleted_generation_has_no_pictures(client: httpx2.Client, served: Served) -> None:
    soon_gone = made(client, "soon gone", seed=2)
    assert client.delete(soon_gone["links"]["self"]).status_code == 204
    for name in ("thumbnail", "spritesheet"):
        assert client.get(soon_gone["links"][name]).status_code == 404
    left = [path.name for path in (served.config.cinelet_data_dir / "storage").rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(soon_gone["result"]["sha256"])]


def test_a_video_whose_file_is_gone_has_no_reply_but_not_found(client: httpx2.Client, served: Served) -> None:
    lost = made(client, "lost", seed=4)
    for path in (served.config.cinelet_data_dir / "storage").rglob(f"{lost['result']['sha256']}*"):
        path.unlink()
    for name in ("video", "thumbnail", "spritesheet"):
        reply = client.get(lost["links"][name])
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "blob_not_found")


@pytest.fixture(scope="module")
def on_a_bucket(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with bucket_server() as endpoint, pytest.MonkeyPatch.context() as patch:
        url, access = f"s3://{BUCKET}/videos", options(endpoint)
        patch.setattr(assembly, "open_blob_store", lambda _: open_store(url, options=access))
        data = copy_data(tmp_path_factory.mktemp("bucket") / "data")
        with Served(data, make_backend=FakeBackend) as served:
            yield served


async def delete(key: str, jobs: DurableJobs) -> None:
    await jobs.store.delete(key)


def test_a_store_that_signs_links_sends_everything_itself(on_a_bucket: Served) -> None:
    client = on_a_bucket.client
    generation = made(client, seed=1)
    for name, kind in (("video", "video/mp4"), ("thumbnail", "image/webp"), ("spritesheet", "image/webp")):
        reply = client.get(generation["links"][name])
        assert (reply.status_code, reply.content) == (307, b"")
        sent = httpx2.get(reply.headers["location"])
        assert (sent.status_code, sent.headers["content-type"]) == (200, kind)
        assert sent.content[4:8] == b"ftyp" or sent.content[8:12] == b"WEBP"
    # Whoever cannot follow a link elsewhere has it from here, and any part of it.
    whole = httpx2.get(client.get(generation["links"]["video"]).headers["location"]).content
    here = client.get(generation["links"]["video"], params={"redirect": "false"})
    told = client.head(generation["links"]["video"])  # a signed link is one for GET
    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["content-length"] == here.headers["content-length"]
    assert (here.status_code, here.content, here.headers["accept-ranges"]) == (200, whole, "bytes")
    for wanted, first, last in (("5-9", 5, 10), ("-7", len(whole) - 7, len(whole)), ("10-", 10, len(whole))):
        part = client.get(
            generation["links"]["video"], params={"redirect": "false"}, headers={"range": f"bytes={wanted}"}
        )
        assert (part.status_code, part.content) == (206, whole[first:last])
        assert part.headers["content-range"] == f"bytes {first}-{last - 1}/{len(whole)}"
    # One that was made before there were pictures:
    kept = on_a_bucket.with_jobs(lambda jobs: jobs.store.listed("previews"))
    assert len(kept) == 3
    for stored in kept:
        on_a_bucket.with_jobs(partial(delete, stored.key))
    assert client.get(generation["links"]["thumbnail"], headers={"accept": "image/jpeg"}).status_code == 307
    assert len(on_a_bucket.with_jobs(lambda jobs: jobs.store.listed("previews"))) == 3
    assert client.delete(generation["links"]["self"]).status_code == 204
    assert on_a_bucket.with_jobs(lambda jobs: jobs.store.listed("previews")) == []


def test_where_clients_do_not_reach_the_bucket_the_service_sends_everything(
    on_a_bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = on_a_bucket.app.state.cinelet
    config = on_a_bucket.config.model_copy(update={"cinelet_storage_redirect": False})
    # Starlette keeps its state elsewhere than in attributes, where nothing would be put back.
    monkeypatch.setitem(on_a_bucket.app.state._state, "cinelet", replace(state, config=config))
    generation = made(on_a_bucket.client, seed=2)
    for name in ("video", "thumbnail", "spritesheet"):
        assert on_a_bucket.client.get(generation["links"][name]).status_code == 200


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_the_image_that_a_video_begins_with_is_given_back_as_it_came(
    client: httpx2.Client, kind: str, media_type: str
) -> None:
    file = BytesIO()
    Image.new("RGB", (64, 48), "navy").save(file, kind)
    form = {"duration": "1", "fps": "4", "prompt": kind}
    sent = client.post("/v1/image-to-video", data=form, files={"image": file.getvalue()}).json()
    reply = client.get(sent["links"]["image"])
    assert (reply.status_code, reply.content) == (200, file.getvalue())
    assert (reply.headers["content-type"], reply.headers["x-content-type-options"]) == (media_type, "nosniff")


def test_a_video_of_text_alone_has_no_image(client: httpx2.Client, generation: dict[str, Any]) -> None:
    reply = client.get(f"{generation['links']['self']}/image")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "no_image")
