from __future__ import annotations

import io
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from cinelet import door
from cinelet.domain.video import VideoResult
from cinelet.media.probe import probe
from cinelet.testing import FakeBackend, decoded_frames, example_image
from tests.cli.conftest import Command, start

SHORT = ("--model", "fake:x", "--duration", "1")


def test_a_prompt_becomes_the_named_file_and_a_summary(cinelet: Command, bare: Path) -> None:
    done = cinelet("generate", "a red circle", *SHORT, "-o", "out.mp4", "--seed", "7")
    assert done.code == 0
    facts = probe(bare / "out.mp4")
    assert (facts.frames, facts.resolution) == (8, "64x48")
    lines = done.out.splitlines()
    assert lines[0] == "out.mp4"
    assert lines[1].startswith("  64x48, 1 s at 8 fps, h264,")
    assert "  seed 7" in lines
    assert lines[-1].startswith("  again: cinelet generate ")


def test_the_printed_command_makes_the_same_video_again(cinelet: Command, bare: Path) -> None:
    printed = cinelet("generate", "it's a $(circle)", *SHORT, "-o", "first.mp4", "--steps", "2").out.splitlines()[-1]
    words = shlex.split(printed.removeprefix("  again: "))
    assert cinelet(words[1], "-o", "second.mp4", *words[2:]).code == 0
    assert (decoded_frames(bare / "first.mp4") == decoded_frames(bare / "second.mp4")).all()


def test_every_option_reaches_the_model(cinelet: Command, backend: FakeBackend, bare: Path) -> None:
    (bare / "cat.png").write_bytes(example_image())
    done = cinelet(
        "generate", "a cat", "--model", "fake:x", "--image", "cat.png", "--negative-prompt", "blur",
        "--duration", "1.5", "--fps", "4", "--steps", "2", "--seed", "3", "--size", "96x64",
        "--guidance", "2.5", "--preset", "high", "--codec", "vp9", "--image-fit", "pad",
        "--cache", "refresh", "--deadline", "60", "-o", "cat.webm",
    )  # fmt: skip
    assert done.code == 0, done.err
    (request,) = backend.requests
    assert request.image == example_image()
    assert (request.prompt, request.negative_prompt, request.duration, request.fps) == ("a cat", "blur", 1.5, 4)
    assert (request.num_inference_steps, request.seed, request.width, request.height) == (2, 3, 96, 64)
    assert (request.guidance_scale, request.preset, request.codec, request.image_fit) == (2.5, "high", "vp9", "pad")
    assert request.cache == "refresh"
    assert probe(bare / "cat.webm").codec == "vp9"


def test_without_options_the_model_chooses(cinelet: Command, backend: FakeBackend) -> None:
    assert cinelet("generate", "a cat", "--model", "fake:x").code == 0
    (request,) = backend.requests
    assert (request.duration, request.fps, request.num_inference_steps, request.seed) == (6, 8, None, None)


def test_a_video_from_the_cache_is_said_to_be(
    cinelet: Command, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CINELET_CACHE_SIZE", "1000000")
    words = ["generate", "a cat", *SHORT, "--seed", "3"]
    first, second, third = cinelet(*words), cinelet(*words), cinelet(*words, "--cache", "refresh", "--json")
    assert ", made in " in first.out
    assert ", from the cache, made before in " in second.out
    assert third.json["cache"] == "made"
    assert "--cache refresh" in third.json["command"]
    assert len(backend.requests) == 2


def test_the_summary_says_what_a_video_costs(cinelet: Command, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "prices.toml").write_text('currency = "EUR"\n[models."fake:x"]\nper_video = 0.25')
    monkeypatch.setenv("CINELET_PRICES", str(bare / "prices.toml"))
    priced = cinelet("generate", "a cat", *SHORT, "--json")
    assert (priced.json["cost"], priced.json["currency"]) == (0.25, "EUR")
    assert "  cost 0.25 EUR" in cinelet("generate", "a cat", *SHORT).out.splitlines()


def test_without_a_price_nothing_is_said_of_the_cost(cinelet: Command) -> None:
    assert "cost" not in cinelet("generate", "a cat", *SHORT).out
    assert cinelet("generate", "a cat", *SHORT, "--json").json["cost"] is None


def test_a_price_table_that_is_wrong_is_refused_before_anything_is_made(
    cinelet: Command, backend: FakeBackend, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "prices.toml").write_text("[local]\nper_vidio = 1")
    monkeypatch.setenv("CINELET_PRICES", "prices.toml")
    done = cinelet("generate", "a cat", *SHORT)
    assert done.code != 0
    assert "local.per_vidio = 1 cannot be used: there is no such unit, did you mean per_video?" in done.err
    assert backend.requests == []


def test_changes_are_told(cinelet: Command, backend: FakeBackend) -> None:
    backend.ignores = frozenset({"guidance_scale"})
    done = cinelet("generate", "a cat", *SHORT, "--guidance", "3")
    assert "  ignored guidance_scale (3.0): the fake model does not use it" in done.out.splitlines()


def test_json_is_one_object_on_stdout(cinelet: Command) -> None:
    done = cinelet("generate", "a cat", *SHORT, "-o", "out.mp4", "--json")
    assert done.json["path"] == "out.mp4"
    assert (done.json["resolution"], done.json["frames"], done.json["model"]) == ("64x48", 8, "fake:x")
    assert done.json["command"].startswith("cinelet generate ")


def test_json_tells_an_error_too(cinelet: Command) -> None:
    done = cinelet("generate", "a cat", *SHORT, "--fps", "0", "--json")
    assert done.code == 2
    assert done.json == {
        "error": {
            "code": "invalid_request",
            "message": "FPS must be 1-60",
            "retryable": False,
            "details": {"fps": "Must be between 1 and 60"},
        }
    }


def test_a_link_to_nothing_is_replaced_where_that_is_wanted(cinelet: Command, bare: Path) -> None:
    (bare / "out.mp4").symlink_to("nowhere.mp4")
    done = cinelet("generate", "a cat", *SHORT, "-o", "out.mp4", "--force")
    assert done.code == 0, done.err
    assert not (bare / "out.mp4").is_symlink()
    assert not (bare / "nowhere.mp4").exists()


@pytest.mark.parametrize("output", [(), ("-o", ".")])
def test_a_video_without_a_name_is_kept_where_another_took_the_name_meanwhile(
    cinelet: Command, bare: Path, monkeypatch: pytest.MonkeyPatch, output: tuple[str, ...]
) -> None:
    make = door.generate

    def made_while_another_was_saved(*prompts: str, **values: Any) -> VideoResult:
        result = make(*prompts, **values)
        (bare / "a-cat.mp4").write_text("another")
        return result

    monkeypatch.setattr(door, "generate", made_while_another_was_saved)
    done = cinelet("generate", "a cat", *SHORT, *output)
    assert (done.code, done.out.splitlines()[0]) == (0, "a-cat-2.mp4"), done.err
    assert (bare / "a-cat.mp4").read_text() == "another"


def test_a_mark_of_the_byte_order_is_no_part_of_a_prompt(cinelet: Command, backend: FakeBackend, bare: Path) -> None:
    (bare / "prompts.txt").write_bytes(b"\xef\xbb\xbfa cat\n")
    assert cinelet("generate", "--prompts", "prompts.txt", *SHORT).code == 0
    assert [request.prompt for request in backend.requests] == ["a cat"]


def test_quiet_says_nothing(cinelet: Command, bare: Path) -> None:
    done = cinelet("generate", "a cat", "--duration", "1", "-o", "out.mp4", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (bare / "out.mp4").exists()


def test_off_a_terminal_progress_is_plain_lines_on_stderr(cinelet: Command) -> None:
    lines = cinelet("generate", "a cat", *SHORT).err.splitlines()
    assert lines[0] == "  0% loading"
    assert " 90% denoising 3/3" in lines
    assert lines[-1] == "100% storing"


def test_nothing_configured_is_told_in_one_line(cinelet: Command) -> None:
    first = cinelet("generate", "a cat", "--duration", "1").err.splitlines()[0]
    assert first.startswith("Using embedded, the small model inside the package; another one: --model org/name")


def test_a_configured_model_needs_no_line(cinelet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAULT_TEXT_TO_VIDEO_MODEL", "fake:mine")
    done = cinelet("generate", "a cat", "--duration", "1", "--json")
    assert "Using" not in done.err
    assert done.json["model"] == "fake:mine"


def test_without_a_name_the_file_is_called_after_the_prompt_and_never_replaced(cinelet: Command, bare: Path) -> None:
    for _ in range(2):
        assert cinelet("generate", "A red circle, moving left!", *SHORT).code == 0
    assert sorted(path.name for path in bare.iterdir()) == [
        "a-red-circle-moving-left-2.mp4",
        "a-red-circle-moving-left.mp4",
    ]


def test_an_image_alone_is_enough(cinelet: Command, bare: Path) -> None:
    (bare / "My Cat.png").write_bytes(example_image())
    assert cinelet("generate", *SHORT, "--image", "My Cat.png").code == 0
    assert (bare / "my-cat.mp4").exists()


def test_a_name_without_suffix_gets_the_codecs(cinelet: Command, bare: Path) -> None:
    assert cinelet("generate", "a cat", *SHORT, "-o", "clip", "--codec", "vp9").code == 0
    assert (bare / "clip.webm").exists()


def test_the_video_is_opened_when_asked(cinelet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    assert cinelet("generate", "a cat", *SHORT, "-o", "out.mp4", "--open").code == 0
    assert opened == ["out.mp4"]


def test_an_existing_file_is_refused_off_a_terminal_before_any_work(
    cinelet: Command, backend: FakeBackend, bare: Path
) -> None:
    (bare / "out.mp4").write_text("mine")
    done = cinelet("generate", "a cat", *SHORT, "-o", "out.mp4")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: out.mp4 exists already; give --force to replace it, or another --output\n"
    assert (bare / "out.mp4").read_text() == "mine"
    assert backend.requests == []


def test_force_replaces_it(cinelet: Command, bare: Path) -> None:
    (bare / "out.mp4").write_text("mine")
    assert cinelet("generate", "a cat", *SHORT, "-o", "out.mp4", "--force").code == 0
    assert probe(bare / "out.mp4").frames == 8


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_on_a_terminal_it_is_asked(
    cinelet: Command, bare: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    (bare / "out.mp4").write_text("mine")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    done = cinelet("generate", "a cat", *SHORT, "-o", "out.mp4")
    assert done.code == code
    assert "Replace out.mp4?" in done.out + done.err
    assert ((bare / "out.mp4").read_bytes() == b"mine") is (code != 0)


def test_prompts_of_a_file_become_numbered_videos(cinelet: Command, backend: FakeBackend, bare: Path) -> None:
    (bare / "prompts.txt").write_text("# shapes\na red circle\n\n  a blue square \n一只猫\n", encoding="utf-8")
    done = cinelet("generate", "--prompts", "prompts.txt", *SHORT, "-o", "out")
    assert done.code == 0
    assert sorted(path.name for path in (bare / "out").iterdir()) == [
        "001-a-red-circle.mp4",
        "002-a-blue-square.mp4",
        "003-一只猫.mp4",
    ]
    assert [request.prompt for request in backend.requests] == ["a red circle", "a blue square", "一只猫"]
    assert done.out.splitlines()[-1] == "3 made, 0 failed"


def test_one_failed_prompt_does_not_stop_the_others(cinelet: Command, bare: Path) -> None:
    (bare / "prompts.txt").write_text(f"one\n{'x' * 1001}\nthree\n")
    done = cinelet("generate", "--prompts", "prompts.txt", *SHORT, "--json")
    assert done.code == 1
    assert (done.json["made"], done.json["failed"]) == (2, 1)
    assert done.json["videos"][1]["error"]["message"] == "Prompt must be 1-1000 characters"
    assert "error: 002-xxx" in done.err
    assert len(list((bare / "videos").iterdir())) == 2


def test_prompts_may_come_from_stdin(cinelet: Command, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    assert cinelet("generate", "--prompts", "-", *SHORT).code == 0
    assert len(list((bare / "videos").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "what"), [(("generate", "--prompts", "-"), "no prompt"), (("batch", "-"), "no request")]
)
def test_an_empty_stdin_is_called_by_its_name(
    cinelet: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], what: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    done = cinelet(*words)
    assert (done.code, done.err.startswith(f"error: standard input holds {what}; ")) == (2, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_no_file_and_no_traceback(
    installed_fake: list[str], bare: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start([*installed_fake, "generate", "a cat", "--model", "slow:x", "-o", "out.mp4"])
    assert process.stderr is not None
    assert process.stdout is not None
    heard = []
    while "denoising" not in (line := process.stderr.readline()):
        heard.append(line)
        assert line, heard
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in err
    assert out == ""
    if number is signal.SIGINT:
        assert err.splitlines()[-1] == "interrupted: no file was left unfinished"
    assert list(bare.iterdir()) == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_unexpected_error_is_one_line_and_debug_shows_where(cinelet: Command, backend: FakeBackend) -> None:
    backend.error = RuntimeError("boom with hf_abcdefghij")
    plain = cinelet("generate", "a cat", *SHORT, "--quiet")
    assert plain.code == 1
    assert plain.err.splitlines()[-1] == "error: Failed to generate video: boom with ***"
    assert "Traceback" not in plain.err
    for words in (("--debug", "generate", "a cat", *SHORT), ("generate", "a cat", *SHORT, "--debug")):
        shown = cinelet(*words)
        assert "Traceback" in shown.err
        assert "hf_abcdefghij" not in shown.err


def test_the_environment_can_ask_for_tracebacks(
    cinelet: Command, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CINELET_DEBUG", "1")
    backend.error = RuntimeError("boom")
    assert "Traceback" in cinelet("generate", "a cat", *SHORT).err


def test_logs_are_json_without_the_prompt(cinelet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CINELET_LOG_LEVEL", "INFO")
    monkeypatch.setenv("CINELET_LOG_FORMAT", "json")
    err = cinelet("generate", "my secret garden", *SHORT, "--json", "--quiet").err
    events = [json.loads(line) for line in err.splitlines()]
    assert [event["message"] for event in events] == ["Generating a video", "Generated a video"]
    assert "garden" not in err
