"""Whatever is wrong is one clear line, a non-zero exit and no file; through the library, the same error."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

import cinelet as library
from cinelet.domain.errors import CineletError
from cinelet.domain.lora import Lora
from cinelet.testing import FakeBackend, example_image
from tests.cli.conftest import Command


def huge_png() -> bytes:
    """A PNG whose header promises 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


# options of the command, parameters of the library, what both say, the exit code
WRONG: dict[str, tuple[list[str], dict[str, Any], str, int]] = {
    "an empty prompt": ([""], {"prompt": ""}, "Prompt must be 1-1000 characters", 2),
    "a blank prompt": (["  "], {"prompt": "  "}, "Prompt must be 1-1000 characters", 2),
    "a long prompt": (["x" * 1001], {"prompt": "x" * 1001}, "Prompt must be 1-1000 characters", 2),
    "no duration": (["a", "--duration", "0"], {"duration": 0}, "Duration must be 1-30 seconds", 2),
    "a long duration": (["a", "--duration", "31"], {"duration": 31}, "Duration must be 1-30 seconds", 2),
    "no number": (["a", "--duration", "nan"], {"duration": float("nan")}, "Duration must be 1-30 seconds", 2),
    "no rate": (["a", "--fps", "0"], {"fps": 0}, "FPS must be 1-60", 2),
    "a high rate": (["a", "--fps", "61"], {"fps": 61}, "FPS must be 1-60", 2),
    "no steps": (["a", "--steps", "0"], {"num_inference_steps": 0}, "Inference steps must be 1-100", 2),
    "many steps": (["a", "--steps", "101"], {"num_inference_steps": 101}, "Inference steps must be 1-100", 2),
    "a tiny size": (["a", "--size", "8x64"], {"width": 8, "height": 64}, "Width must be 16-4096 pixels", 2),
    "a missing image": (["a", "--image", "no.png"], {"image": "no.png"}, "The image no.png cannot be read", 2),
    "a folder as image": (["a", "--image", "."], {"image": "."}, "Is a directory", 2),
    "a path that is too long": (["a", "--image", "n" * 300], {"image": "n" * 300}, "File name too long", 2),
    "an endless image": (["a", "--image", "/dev/zero"], {"image": "/dev/zero"}, "at most 20,971,520 are allowed", 2),
    "nobody's home": (
        ["a", "--image", "~no-such-user/a"],
        {"image": "~no-such-user/a"},
        "cannot be read: Could not",
        2,
    ),
    "an empty image": (["a", "--image", "empty"], {"image": "empty"}, "The image is empty", 2),
    "a broken reference": (["a", "--model", "nonsense"], {"model": "nonsense"}, "is not a model reference", 2),
    "an empty reference": (["a", "--model", ""], {"model": ""}, "'' is not a model reference", 2),
    "a bare folder": (["a", "--model", "./x"], {"model": "./x"}, "a directory is written local:./x", 2),
    "a negative seed": (["a", "--seed", "-1"], {"seed": -1}, "Seed must be 0 to 2**63 - 1", 2),
    "no cost": (["a", "--max-cost", "0"], {"max_cost": 0}, "max_cost must be a number above 0", 2),
    "nothing that fits": (
        ["a", "--model", "auto", "--max-cost", "1"],
        {"model": "auto", "max_cost": 1},
        "embedded: its price is unknown",
        1,
    ),
    "no time": (["a", "--deadline", "0"], {"deadline_seconds": 0}, "The deadline of 0 s is over", 1),
    "no deadline": (
        ["a", "--deadline", "nan"],
        {"deadline_seconds": float("nan")},
        "deadline_seconds must be a number of seconds, not nan",
        2,
    ),
}

# what only the library can be given, and what it says
WRONG_TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "a word for a deadline": ({"deadline_seconds": "soon"}, "must be a number of seconds, not 'soon'"),
    "a list for a deadline": ({"deadline_seconds": [5]}, "must be a number of seconds, not [5]"),
    "an endless deadline": ({"deadline_seconds": float("inf")}, "must be a number of seconds, not inf"),
    "a number for an image": (
        {"image": 5},
        "An image of the type int cannot be used; give the bytes of a file or its path",
    ),
    "a number for a LoRA": ({"lora": 5}, "lora.0: "),
    "a list with a number for a LoRA": ({"lora": [5]}, "lora.0: "),
    "a text that is no LoRA": ({"lora": "org/name=strong"}, "The LoRA 'org/name=strong' cannot be read"),
}

# what only the command line can be given
WRONG_COMMANDS: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "Say what to show"),
    "a prompt and prompts": (["a", "--prompts", "empty"], "Give a prompt or --prompts, not both"),
    "prompts without one": (["--prompts", "empty"], "holds no prompt"),
    "missing prompts": (["--prompts", "no.txt"], "The prompts no.txt cannot be read: No such file"),
    "binary prompts": (["--prompts", "huge.png"], "it is not UTF-8 text"),
    "no size": (["a", "--size", "wide"], "is not WIDTHxHEIGHT; write 768x512"),
    "a word for a number": (["a", "--fps", "many"], "'--fps': Input should be a valid integer"),
    "a refused value": (["a", "--fps", "many"], "not 'many' (cinelet generate --help shows how)"),
    "an unknown strategy": (["a", "--prefer", "quickest"], "most_reliable"),
    "an unknown preset": (["a", "--preset", "best"], "'--preset': 'best' is not one of 'low'"),
    "an unknown option": (["a", "--bogus"], "--bogus"),
    "a missing folder": (["a", "-o", "no/out.mp4"], "The folder no does not exist"),
    "a file as folder": (["a", "-o", "empty/out.mp4"], "empty is not a folder"),
    "a batch into a file": (["--prompts", "one.txt", "-o", "empty"], "empty cannot be made"),
    "another kind of file": (["a", "-o", "out.gif"], "stored as .mp4; name it out.mp4"),
    "another codec's file": (["a", "-o", "out.mp4", "--codec", "vp9"], "stored as .webm; name it out.webm"),
    "a link to nothing": (["a", "-o", "link.mp4"], "link.mp4 exists already; give --force"),
    "a name that is too long": (["a", "-o", "n" * 300], "nnn cannot be written: File name too long"),
    "no home": (["a", "-o", "~no-such-user/a.mp4"], "cannot be written: Could not determine home directory;"),
    "an unwritable folder": (["a", "-o", "/proc/out.mp4"], "Nothing can be written in /proc"),
}


@pytest.fixture(autouse=True)
def files(bare: Path) -> set[Path]:
    (bare / "empty").touch()
    (bare / "one.txt").write_text("one\n")
    (bare / "huge.png").write_bytes(huge_png())
    (bare / "link.mp4").symlink_to("nowhere.mp4")
    return set(bare.iterdir())


@pytest.mark.parametrize("case", WRONG)
def test_the_command_refuses(cinelet: Command, backend: FakeBackend, bare: Path, files: set[Path], case: str) -> None:
    words, _, message, code = WRONG[case]
    done = cinelet("generate", *(("--model", "fake:x") if "--model" not in words else ()), "--quiet", *words)
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert set(bare.iterdir()) == files
    assert backend.requests == []


@pytest.mark.parametrize("case", WRONG)
def test_the_library_refuses(backend: FakeBackend, case: str) -> None:
    _, values, message, code = WRONG[case]
    with pytest.raises(CineletError) as caught:
        library.generate(**{"prompt": "a", "model": "fake:x", **values})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, library.ValidationError) is (code == 2)
    assert backend.requests == []


def test_a_file_that_is_no_image_is_not_quoted(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cinelet.cli.app import run

    (bare / ".env").write_text("TOKEN=abc123\n")
    assert run(["generate", "a", "--image", ".env", "--model", "embedded", "--quiet"]) == 2
    assert capsys.readouterr().err == (
        "error: The image cannot be used: it is a text file; give a PNG, JPEG or WebP file\n"
    )


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_the_library_refuses_a_wrong_type(backend: FakeBackend, case: str) -> None:
    values, message = WRONG_TYPES[case]
    with pytest.raises(library.ValidationError) as caught:
        library.generate("a", **{"model": "fake:x", **values})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert backend.requests == []


@pytest.mark.parametrize(
    ("values", "field", "meant"),
    [
        ({"lora": None}, "lora", ()),
        ({"lora": "org/name"}, "lora", (Lora(path="org/name"),)),
        ({"lora": ["org/name=0.5"]}, "lora", (Lora(path="org/name", scale=0.5),)),
        ({"lora": {"path": "org/name"}}, "lora", (Lora(path="org/name"),)),
        ({"lora": Lora(path="org/name")}, "lora", (Lora(path="org/name"),)),
        ({"image": bytearray(example_image())}, "image", example_image()),
        ({"image": memoryview(example_image())}, "image", example_image()),
        ({"deadline_seconds": "60"}, "lora", ()),
    ],
)
def test_the_library_takes_what_is_meant(backend: FakeBackend, values: dict[str, Any], field: str, meant: Any) -> None:
    with library.generate("a", **{"model": "fake:x", "duration": 1, "seed": 1, **values}):
        assert getattr(backend.requests[0], field) == meant


@pytest.mark.parametrize("case", WRONG_COMMANDS)
def test_the_command_line_refuses(
    cinelet: Command, backend: FakeBackend, bare: Path, files: set[Path], case: str
) -> None:
    words, message = WRONG_COMMANDS[case]
    done = cinelet("generate", "--model", "fake:x", *words)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert set(bare.iterdir()) == files
    assert backend.requests == []


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hf:org/name", "set HF_TOKEN"),
        ("unheard:of", "Nothing serves the scheme 'unheard'"),
    ],
)
def test_a_model_that_cannot_be_reached_as_things_are_is_refused(
    bare: Path, files: set[Path], capsys: pytest.CaptureFixture[str], reference: str, message: str
) -> None:
    from cinelet.cli.app import run

    assert run(["generate", "a", "--model", reference, "--quiet"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert set(bare.iterdir()) == files


@pytest.mark.parametrize(
    "prompt", ["x" * 1000, "一只猫在跳舞", "🐈‍⬛ 💃", "a\nb\tc", "-dash", "con", "../../etc/passwd", "%s {0} [red]"]
)
def test_any_text_is_a_prompt_and_its_name_stays_in_the_folder(
    cinelet: Command, backend: FakeBackend, bare: Path, files: set[Path], prompt: str
) -> None:
    done = cinelet("generate", "--model", "fake:x", "--duration", "1", "--", prompt)
    assert done.code == 0, done.err
    (made,) = set(bare.iterdir()) - files
    assert made.suffix == ".mp4"
    assert made.stem not in {"con", ""}
    assert backend.requests[0].prompt == prompt


def test_a_wrong_setting_is_one_line(cinelet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_VIDEO_DURATION", "long")
    done = cinelet("generate", "a", "--model", "fake:x")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("error: MAX_VIDEO_DURATION='long' cannot be used")


def test_a_prompt_that_is_no_unicode_is_refused(cinelet: Command, backend: FakeBackend) -> None:
    done = cinelet("generate", "--model", "fake:x", "--quiet", "a \udcff")
    assert (done.code, done.err) == (2, "error: Prompt must be Unicode text\n")
    assert backend.requests == []


@pytest.mark.parametrize(
    "content", [b"just text", huge_png(), example_image()[:40]], ids=["text", "50,000 pixels wide", "truncated"]
)
def test_an_image_that_is_none_is_refused_by_the_media_layer(content: bytes) -> None:
    from cinelet.media.image import open_image

    with pytest.raises(library.ValidationError) as caught:
        open_image(content)
    assert set(caught.value.details) == {"image"}
    assert "\n" not in str(caught.value)
