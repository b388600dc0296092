"""Models of the Hub: what is downloaded, what is refused, and what a person hears when it fails."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest

from cinelet.backends.diffusers import hub as hub_module
from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    AuthenticationError,
    CapacityError,
    CineletError,
    DeadlineExceededError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ModelUnsupportedError,
    ProcessingError,
    RateLimitError,
)
from cinelet.domain.progress import Progress, Stage
from tests.backends.diffusers.fake_hub import FakeHub, Repository, asked_here
from tests.backends.diffusers.hub_model import MODEL, NEEDED, WEIGHTS, model_files

UNREACHABLE = "http://127.0.0.1:9"
"""Nothing listens there."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with asked_here(monkeypatch, FakeHub({MODEL: Repository(model_files())})) as hub:
        yield hub


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def download(
    hub: FakeHub,
    cache: Path,
    *,
    repo_id: str = MODEL,
    token: str | None = None,
    context: Context | None = None,
    weights: bool = True,
) -> Path:
    return hub_module.download(
        repo_id, cache_dir=cache, token=token, endpoint=hub.url, context=context, weights=weights
    )


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def wait_for_downloads() -> None:
    """Wait until no thread downloads; fail if one does not end."""
    for thread in threading.enumerate():
        # On a busy machine the cancel may come while the index is still asked for.
        if thread.name.startswith(("cinelet-download", "cinelet-hub")):
            thread.join(10)
            assert not thread.is_alive()


class TestWhatIsDownloaded:
    def test_the_files_that_are_needed_and_no_others(self, hub: FakeHub, cache: Path) -> None:
        folder = download(hub, cache)
        assert files_in(folder) == NEEDED
        assert hub.fetched() == NEEDED
        assert (folder / WEIGHTS).read_bytes() == hub.repositories[MODEL].files[WEIGHTS]

    def test_configurations_only_where_no_weights_are_asked_for(self, hub: FakeHub, cache: Path) -> None:
        download(hub, cache, weights=False)
        assert hub.fetched() == {name for name in NEEDED if name.endswith("config.json")} | {"model_index.json"}

    def test_weights_after_configurations_complete_the_same_folder(self, hub: FakeHub, cache: Path) -> None:
        folder = download(hub, cache, weights=False)
        hub.requests.clear()
        assert download(hub, cache) == folder
        assert files_in(folder) == NEEDED
        assert not any(name.endswith("config.json") for name in hub.fetched())

    def test_half_precision_weights_where_there_are_no_others(self, hub: FakeHub, cache: Path) -> None:
        hub.repositories[MODEL].files["vae/diffusion_pytorch_model.fp16.safetensors"] = b"half"
        del hub.repositories[MODEL].files["vae/diffusion_pytorch_model.safetensors"]
        weights = {name for name in files_in(download(hub, cache)) if name.endswith(".safetensors")}
        assert weights == {
            "transformer/diffusion_pytorch_model.fp16.safetensors",
            "vae/diffusion_pytorch_model.fp16.safetensors",
        }

    def test_a_model_that_is_there_takes_one_question_and_no_file(self, hub: FakeHub, cache: Path) -> None:
        folder = download(hub, cache)
        hub.requests.clear()
        seen: list[Progress] = []
        assert download(hub, cache, context=Context(cache, on_progress=seen.append)) == folder
        assert [request.path for request in hub.requests] == [f"/api/models/{MODEL}"]
        assert seen == []

    def test_a_new_revision_replaces_the_old_one(self, hub: FakeHub, cache: Path) -> None:
        old = download(hub, cache)
        hub.repositories[MODEL].files["vae/config.json"] = b'{"new": true}'
        new = download(hub, cache)
        assert new != old
        assert (new / "vae/config.json").read_bytes() == b'{"new": true}'

    def test_no_token_reaches_the_store_of_the_large_files(self, hub: FakeHub, cache: Path) -> None:
        download(hub, cache, token="hf_good")
        seen = {(request.place, request.headers.get("authorization")) for request in hub.requests}
        assert seen == {("hub", "Bearer hf_good"), ("cdn", None)}

    def test_a_token_that_was_not_given_is_not_looked_for(
        self, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_good")
        download(hub, cache, token=None, weights=False)
        assert {request.headers.get("authorization") for request in hub.requests} == {None}


class TestWhatIsRefusedBeforeItsWeightsCome:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"_class_name": "os.system"}, "foreign code is never run"),
            ({"_class_name": ["pipeline", "MyPipeline"]}, "foreign code is never run"),
            ({"vae": ["my_module", "MyAutoencoder"]}, "foreign code"),
            ({"_class_name": "NoSuchPipeline"}, "no pipeline of diffusers"),
            ({"_class_name": "StableDiffusionPipeline"}, "makes no video"),
        ],
    )
    def test_a_model_that_cannot_be_used(self, hub: FakeHub, cache: Path, changes: dict[str, Any], reason: str) -> None:
        hub.repositories[MODEL].files = model_files(**changes)
        with pytest.raises(ModelUnsupportedError, match=reason):
            download(hub, cache)
        assert hub.fetched() == {"model_index.json"}

    def test_weights_in_pickle_files_only(self, hub: FakeHub, cache: Path) -> None:
        del hub.repositories[MODEL].files["vae/diffusion_pytorch_model.safetensors"]
        with pytest.raises(ModelUnsupportedError, match="the weights of vae are in pickle files"):
            download(hub, cache)
        assert hub.fetched() == {"model_index.json"}

    def test_a_repository_that_is_no_diffusers_model(self, hub: FakeHub, cache: Path) -> None:
        hub.repositories[MODEL].files = {"config.json": b"{}", "model.safetensors": b"weights"}
        with pytest.raises(ModelNotFoundError, match=r"it has no model_index\.json"):
            download(hub, cache)
        assert hub.fetched() == set()

    def test_a_model_larger_than_the_disk_has_room_for(
        self, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
        with pytest.raises(CapacityError, match=r"needs 0\.3 MB, and .* has 0\.1 MB free; free some space"):
            download(hub, cache)
        assert hub.fetched() == {"model_index.json"}


class TestWithoutTheHub:
    def test_a_complete_model_is_taken_from_the_cache_without_a_request(
        self, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = download(hub, cache)
        hub.requests.clear()
        go_offline(monkeypatch)
        assert download(hub, cache) == folder
        assert hub.requests == []

    def test_a_complete_model_is_taken_from_the_cache_when_the_network_is_down(self, hub: FakeHub, cache: Path) -> None:
        folder = download(hub, cache)
        hub.url = UNREACHABLE
        assert download(hub, cache) == folder

    def test_a_complete_model_is_taken_from_the_cache_when_the_hub_is_ill(self, hub: FakeHub, cache: Path) -> None:
        folder = download(hub, cache)
        hub.status = 503
        assert download(hub, cache) == folder

    def test_a_complete_model_is_taken_from_the_cache_when_the_hub_says_nothing(
        self, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = download(hub, cache)
        hub.silent = True
        monkeypatch.setattr(hub_module, "ANSWER_SECONDS", 0.2)
        assert download(hub, cache) == folder

    def test_a_silent_hub_is_not_waited_for_for_ever(
        self, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.silent = True
        monkeypatch.setattr(hub_module, "ANSWER_SECONDS", 0.2)
        with pytest.raises(HuggingFaceAPIError, match="the Hub cannot be reached"):
            download(hub, cache)

    def test_a_cache_without_a_list_of_files_is_used_as_it_is(
        self, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = download(hub, cache)
        moved = shutil.copytree(cache, cache.with_name("moved"), symlinks=True)
        shutil.rmtree(moved / folder.relative_to(cache).parts[0] / "trees")
        go_offline(monkeypatch)
        assert files_in(download(hub, moved)) == NEEDED

    @pytest.mark.parametrize("first", [False, True], ids=["nothing there", "configurations there"])
    def test_offline_an_incomplete_model_is_not_found(
        self, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch, *, first: bool
    ) -> None:
        if first:
            download(hub, cache, weights=False)
        go_offline(monkeypatch)
        with pytest.raises(ModelNotFoundError, match=r"org/tiny-video is not on this machine.*HF_HUB_OFFLINE"):
            download(hub, cache)

    def test_no_network(self, hub: FakeHub, cache: Path) -> None:
        hub.url = UNREACHABLE
        with pytest.raises(HuggingFaceAPIError, match=r"the Hub cannot be reached.*check the network") as raised:
            download(hub, cache)
        assert raised.value.retryable


class TestWhatTheHubAnswers:
    def refusal(self, hub: FakeHub, cache: Path, *, token: str | None = None, repo_id: str = MODEL) -> CineletError:
        with pytest.raises(CineletError) as raised:
            download(hub, cache, token=token, repo_id=repo_id)
        assert "\n" not in str(raised.value)
        assert "hf_" not in str(raised.value)
        return raised.value

    def test_an_unknown_model(self, hub: FakeHub, cache: Path) -> None:
        without = self.refusal(hub, cache, repo_id="org/missing")
        assert isinstance(without, ModelNotFoundError)
        assert "no model org/missing, or it is private and there is no token (HF_TOKEN)" in str(without)
        given = self.refusal(hub, cache, repo_id="org/missing", token="hf_good")
        assert isinstance(given, ModelNotFoundError)
        assert "or the token may not read it" in str(given)

    def test_a_name_that_no_repository_can_have(self, hub: FakeHub, cache: Path) -> None:
        assert isinstance(self.refusal(hub, cache, repo_id="org/a..b"), ModelNotFoundError)
        assert hub.requests == []

    def test_a_gated_model(self, hub: FakeHub, cache: Path) -> None:
        hub.repositories[MODEL].gated = True
        without = self.refusal(hub, cache)
        assert isinstance(without, AuthenticationError)
        assert "accept its terms at https://huggingface.co/org/tiny-video and set HF_TOKEN" in str(without)
        given = self.refusal(hub, cache, token="hf_good")
        assert isinstance(given, AuthenticationError)
        assert "with the account of your token" in str(given)
        hub.repositories[MODEL].readers = frozenset({"hf_good"})
        assert files_in(download(hub, cache, token="hf_good")) == NEEDED

    def test_a_wrong_token(self, hub: FakeHub, cache: Path) -> None:
        error = self.refusal(hub, cache, token="hf_wrong")
        assert isinstance(error, AuthenticationError)
        assert error.facts() == {"status": 401, "provider": "hub", "request_id": "request-1"}
        assert "set HF_TOKEN to a valid one" in str(error)

    def test_too_many_requests(self, hub: FakeHub, cache: Path) -> None:
        hub.status, hub.retry_after = 429, "17"
        error = self.refusal(hub, cache)
        assert isinstance(error, RateLimitError)
        assert (error.retry_after, error.retryable) == (17.0, True)
        assert "in 17 s" in str(error)

    def test_an_ill_hub(self, hub: FakeHub, cache: Path) -> None:
        hub.status = 503
        error = self.refusal(hub, cache)
        assert type(error) is HuggingFaceAPIError
        assert (error.status, error.retryable) == (503, True)

    def test_a_file_shorter_than_promised_is_no_file(self, hub: FakeHub, cache: Path) -> None:
        hub.shortened_bytes = 10
        error = self.refusal(hub, cache)
        assert type(error) is HuggingFaceAPIError
        assert not [name for name in files_in(cache) if name.endswith((".safetensors", ".incomplete"))]
        hub.shortened_bytes = 0
        assert files_in(download(hub, cache)) == NEEDED

    def test_a_broken_connection_goes_on_where_it_broke(self, hub: FakeHub, cache: Path) -> None:
        hub.repositories[MODEL].files["vae/diffusion_pytorch_model.safetensors"] = bytes(20_000_000)
        hub.cuts_bytes = [15_000_000]
        folder = download(hub, cache)
        assert (folder / "vae/diffusion_pytorch_model.safetensors").read_bytes() == bytes(20_000_000)
        assert any("range" in request.headers for request in hub.requests)

    def test_a_cache_folder_that_cannot_be_written(self, hub: FakeHub, cache: Path) -> None:
        cache.write_text("a file")
        with pytest.raises(ProcessingError, match=r"cache folder .* cannot be written; set HF_HUB_CACHE") as raised:
            download(hub, cache / "inside")
        assert raised.value.stage == "downloading"


class TestProgressAndCancel:
    def test_progress_counts_the_bytes_that_are_missing(self, hub: FakeHub, cache: Path) -> None:
        seen: list[Progress] = []
        folder = download(hub, cache, context=Context(cache, on_progress=seen.append))
        total = sum((folder / name).stat().st_size for name in NEEDED - {"model_index.json"})
        assert {progress.stage for progress in seen} == {Stage.DOWNLOADING}
        assert {progress.steps for progress in seen} == {total}
        assert (seen[-1].step, seen[-1].fraction) == (total, hub_module.DOWNLOADED)
        assert [progress.step for progress in seen] == sorted(progress.step for progress in seen)

    def test_a_cancel_ends_a_download_that_stalls(self, hub: FakeHub, cache: Path) -> None:
        hub.stalls = True
        context = Context(cache)
        threading.Timer(0.3, context.cancel).start()
        began = time.monotonic()
        with pytest.raises(GenerationCancelledError):
            download(hub, cache, context=context)
        assert time.monotonic() - began < 10
        hub.stalls = False
        hub.go_on.set()
        assert files_in(download(hub, cache)) == NEEDED

    def test_what_a_cancel_stopped_leaves_no_part_of_a_file(self, hub: FakeHub, cache: Path) -> None:
        hub.stalls = True
        context = Context(cache)

        def cancel_and_go_on() -> None:
            context.cancel()
            time.sleep(0.5)
            hub.go_on.set()

        threading.Timer(0.3, cancel_and_go_on).start()
        with pytest.raises(GenerationCancelledError):
            download(hub, cache, context=context)
        wait_for_downloads()
        assert not [name for name in files_in(cache) if name.endswith(".incomplete")]

    def test_a_cancel_ends_the_wait_for_a_silent_hub(self, hub: FakeHub, cache: Path) -> None:
        hub.silent = True
        context = Context(cache)
        threading.Timer(0.2, context.cancel).start()
        with pytest.raises(GenerationCancelledError):
            download(hub, cache, context=context)

    def test_a_deadline_ends_a_download(self, hub: FakeHub, cache: Path) -> None:
        clock = FakeClock()

        def late(_progress: Progress) -> None:
            clock.advance(3600)
            threading.Timer(0.5, hub.go_on.set).start()

        context = Context(cache, deadline_seconds=60, on_progress=late, monotonic=clock.monotonic)
        hub.stalls = True
        with pytest.raises(DeadlineExceededError):
            download(hub, cache, context=context)

    def test_one_failure_ends_the_other_downloads(self) -> None:
        started = threading.Event()

        def fetch(name: str, bar_class: type) -> None:
            bar = bar_class()
            if name == "bad":
                started.wait(10)
                raise OSError("broken")
            while True:
                bar.update(1)
                started.set()

        with pytest.raises(OSError, match="broken"):
            hub_module._fetch({"good": 10, "bad": 10}, fetch, None)
        wait_for_downloads()


def test_the_transfer_librarys_abort_is_where_it_was() -> None:
    from huggingface_hub.utils import _xet

    assert callable(_xet.abort_xet_session)
