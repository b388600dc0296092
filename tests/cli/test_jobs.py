"""`cinelet jobs`, `cinelet db` and `cinelet batch`, on a private database of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cinelet.jobs.private_server import PrivateServer
from cinelet.media.probe import probe
from cinelet.testing import FakeBackend, example_image
from tests.cli.conftest import Command
from tests.jobs.conftest import copy_data, processes_of

__all__ = ["copy_data", "processes_of"]


@pytest.fixture(autouse=True)
def own_database(bare: Path, copy_data: Callable[[Path], Path], processes_of: Callable[[Path], list[int]]):
    data = copy_data(bare.parent / "data")
    yield
    assert processes_of(data / "database" / "postgres") == [], "the last command stops the server"


@pytest.fixture
def submitted(cinelet: Command) -> str:
    return cinelet("jobs", "submit", "a red circle", "--seed", "3", "--duration", "1").out.strip()


def _batch(folder: Path, *lines: object) -> Path:
    file = folder / "prompts.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return file


@pytest.mark.parametrize("words", [("--priority", "101"), ("--delay", "1e300"), ("--delay", "nan")])
def test_a_priority_and_a_delay_have_limits(cinelet: Command, words: tuple[str, str]) -> None:
    done = cinelet("jobs", "submit", "a red circle", *words)
    assert done.code == 2
    assert f"Invalid value for '{words[0]}'" in done.err
    assert f"not '{words[1]}' (cinelet jobs submit --help" in done.err


def test_what_is_submitted_is_listed_shown_and_cancelled(cinelet: Command, submitted: str) -> None:
    (listed,) = cinelet("jobs", "list").out.splitlines()
    assert listed.startswith(submitted)
    assert "queued" in listed
    assert "a red circle" in listed
    assert "0 before it in the queue local" in cinelet("jobs", "show", submitted).out
    assert cinelet("jobs", "cancel", submitted[:12]).out == f"{submitted} is cancelled\n"
    assert cinelet("jobs", "cancel", submitted).out == f"{submitted} is cancelled already\n"
    assert cinelet("jobs", "list", "--state", "queued").out == ""
    again = cinelet("jobs", "retry", submitted).out.strip()
    assert again != submitted
    assert cinelet("jobs", "show", again, "--json").json["request"]["seed"] == 3


def test_a_key_gives_the_same_generation(cinelet: Command) -> None:
    first, second = (cinelet("jobs", "submit", "x", "--key", "k") for _ in range(2))
    assert first.out == second.out
    assert "asked for before" in second.err
    other = cinelet("jobs", "submit", "y", "--key", "k")
    assert (other.code, "idempotency key" in other.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("jobs", "show", "gen_nothing"), 1, "There is no generation 'gen_nothing'"),
        (("jobs", "list", "--state", "lost"), 2, "There is no state 'lost'"),
        (("jobs", "submit", ""), 2, "Prompt must be 1-1000 characters"),
        (("worker", "--queues", "fast"), 2, "There is no queue fast"),
        (("jobs", "submit", "x", "--model", "foo:bar"), 1, "Nothing serves the scheme 'foo' of foo:bar; install"),
        (("estimate", "--model", "foo:bar"), 1, "Nothing serves the scheme 'foo' of foo:bar; install"),
        (("estimate", "--model", "local:./none"), 1, "local:./none: none does not exist; give the directory"),
        (("jobs", "submit", "x", "--model", "nonsense"), 2, "'nonsense' is not a model reference"),
        (("worker", "--metrics-fd", "999"), 2, "--metrics-fd 999 cannot be used: Bad file descriptor; leave it to"),
        (("db", "restore", "none.dump"), 1, "There is no dump none.dump"),
        (("batch", "none.jsonl"), 2, "The batch none.jsonl cannot be read"),
    ],
)
def test_a_wrong_word_is_one_line(cinelet: Command, words: tuple[str, ...], code: int, why: str) -> None:
    done = cinelet(*words)
    assert done.code == code
    assert done.err.startswith(f"error: {why}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("queues", ["local", "remote,local"])
def test_a_worker_for_local_models_does_not_start_on_a_device_that_is_not_there(cinelet: Command, queues: str) -> None:
    done = cinelet("worker", "--queues", queues, "--device", "cuda:99", "--parent", "1")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("error: The device 'cuda:99' cannot be used here: ")


def test_a_worker_for_remote_models_asks_for_no_device(cinelet: Command) -> None:
    done = cinelet("worker", "--queues", "remote", "--device", "cuda:99", "--parent", "1")
    assert (done.code, "has stopped after 0 generations" in done.err) == (0, True)


def test_a_dump_brings_the_jobs_back(cinelet: Command, submitted: str, bare: Path) -> None:
    assert cinelet("db", "dump", "jobs.dump").code == 0
    assert (bare / "jobs.dump").stat().st_mode & 0o077 == 0
    before = (bare / "jobs.dump").stat()
    again = cinelet("db", "dump", "jobs.dump")
    assert (again.code, again.err) == (
        2,
        "error: jobs.dump exists already; give --force to replace it, or another name\n",
    )
    assert (bare / "jobs.dump").stat() == before
    assert cinelet("db", "dump", "jobs.dump", "--force").code == 0
    later = cinelet("jobs", "submit", "another").out.strip()
    refused = cinelet("db", "restore", "jobs.dump")
    assert (refused.code, "--force" in refused.err) == (2, True)
    assert cinelet("db", "restore", "jobs.dump", "--force").code == 0
    ids = [generation["id"] for generation in cinelet("jobs", "list", "--json").json]
    assert ids == [submitted] != [later]
    status = cinelet("db", "status", "--json").json
    assert (status["generations"], status["private"]) == ({"queued": 1}, True)


def test_a_batch_makes_a_video_of_each_good_line_and_names_the_others(
    cinelet: Command, backend: FakeBackend, bare: Path
) -> None:
    (bare / "cat.png").write_bytes(example_image())
    file = _batch(
        bare,
        {"prompt": "a red circle", "duration": 1, "seed": 1},
        "# no json",
        {"prompt": "a cat", "image": "cat.png", "duration": 1, "codec": "vp9"},
        {"prompt": "x", "fps": 0},
        {"prompt": "x", "speed": 3},
        {"prompt": "x", "image": "none.png"},
        [1],
    )
    done = cinelet("batch", file, "--out", "out")
    assert done.code == 1
    assert sorted(path.name for path in (bare / "out").iterdir()) == ["001-a-red-circle.mp4", "003-a-cat.webm"]
    assert probe(bare / "out" / "003-a-cat.webm").codec == "vp9"
    assert {line.split(": ")[1] for line in done.err.splitlines() if line.startswith("error: ")} == {
        f"line {number}" for number in (2, 4, 5, 6, 7)
    }
    assert "speed" in done.err
    assert done.out == "2 made, 5 failed (lines 2, 4, 5, 6, 7); in out\n"
    made = len(backend.requests)

    again = cinelet("batch", file, "--out", "out", "--json").json
    assert (again["made"], again["failed"], again["left"]) == (2, 5, 0)
    assert len(backend.requests) == made, "nothing is made twice"


def test_a_video_that_was_deleted_is_saved_again_and_not_made_again(
    cinelet: Command, backend: FakeBackend, bare: Path
) -> None:
    file = _batch(bare, {"prompt": "a red circle", "duration": 1})
    assert cinelet("batch", file, "--out", "out").code == 0
    (bare / "out" / "001-a-red-circle.mp4").unlink()
    assert cinelet("batch", file, "--out", "out").code == 0
    assert (bare / "out" / "001-a-red-circle.mp4").is_file()
    assert len(backend.requests) == 1


def test_the_video_of_a_generation_is_saved(cinelet: Command, bare: Path) -> None:
    cinelet("batch", _batch(bare, {"prompt": "a red circle", "duration": 1}), "--out", "out", "--quiet")
    (generation,) = cinelet("jobs", "list", "--state", "completed", "--json").json
    shown = cinelet("jobs", "show", generation["id"]).out
    assert "64x48, 1 s" in shown
    refused = cinelet("jobs", "save", generation["id"], "-o", "mine.webm")
    assert refused.err == ("error: mine.webm cannot hold this video, which is stored as .mp4; name it mine.mp4\n")
    saved = cinelet("jobs", "save", generation["id"], "-o", "mine.mp4")
    assert saved.out == "mine.mp4\n"
    assert probe(bare / "mine.mp4").sha256 == generation["result"]["sha256"]
    assert cinelet("jobs", "watch", generation["id"]).out.splitlines()[-1] == "100% completed"


def test_a_list_shows_those_whose_prompt_has_a_text_in_it(cinelet: Command, submitted: str) -> None:
    cinelet("jobs", "submit", "a blue square")
    assert [one["id"] for one in cinelet("jobs", "list", "--text", "RED", "--json").json] == [submitted]
    assert cinelet("jobs", "list", "--text", "r_d").err == "no generations\n"


def test_an_estimate_is_of_what_was_made_as_jobs(cinelet: Command, bare: Path) -> None:
    assert cinelet("estimate", "--size", "64x48").out.splitlines() == [
        "embedded: unknown; no video of this model has been made and timed here yet",
        "when it begins is unknown",
        "cost unknown; there is no price table (CINELET_PRICES)",
    ]
    cinelet("batch", _batch(bare, {"prompt": "a red circle", "duration": 1}), "--out", "out", "--quiet")
    known = cinelet("estimate", "--duration", "1", "--json").json
    assert (known["model"], known["samples"], known["basis"]) == (
        "embedded",
        1,
        "1 video of this model, by their length",
    )
    assert "; 1 video of this model" in cinelet("estimate", "--task", "image-to-video", "--fps", "4").out
    chosen = cinelet("estimate", "--model", "auto", "--prefer", "fastest", "--duration", "1").out.splitlines()
    assert chosen[0].startswith("embedded: ")
    assert chosen[1].startswith("  chosen: fastest: ")
    assert "1 outcome" in chosen[1]
    refused = cinelet("estimate", "--steps", "0")
    assert (refused.code, refused.err.startswith("error: Inference steps must be 1-100")) == (2, True)


def test_what_a_video_cost_is_shown_with_it(cinelet: Command, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "prices.toml").write_text("[local]\nper_video = 0.5")
    monkeypatch.setenv("CINELET_PRICES", "prices.toml")
    cinelet("batch", _batch(bare, {"prompt": "a red circle", "duration": 1}), "--out", "out", "--quiet")
    (made,) = cinelet("jobs", "list", "--json").json
    assert "  cost 0.50 USD" in cinelet("jobs", "show", made["id"]).out.splitlines()


def test_models_that_were_used_lately_are_listed_where_the_database_runs(
    cinelet: Command, submitted: str, bare: Path
) -> None:
    assert "used lately" not in cinelet("models", "list").out, "a list starts no server"
    assert submitted
    server = PrivateServer(bare.parent / "data")
    server.attach()
    try:
        assert cinelet("models", "list", "--json").json["models"]["embedded"][-1] == "used lately"
    finally:
        server.leave()
