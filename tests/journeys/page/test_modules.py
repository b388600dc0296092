"""The page's modules that decide something, asked in the browser that runs them."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

from tests.journeys.service_process import ServiceProcess

Ask = Callable[..., Any]


@pytest.fixture
def ask(page: Page, service: ServiceProcess) -> Ask:
    """Return what calls a function of a module of the page with JSON values."""
    page.goto(f"{service.url}/#/make")
    page.wait_for_selector("main h1")

    def call(module: str, name: str, *arguments: Any) -> Any:
        script = "async ([module, name, given]) => (await import(module))[name](...given)"
        return page.evaluate(script, [f"/web/{module}", name, list(arguments)])

    return call


def test_amounts_are_said_as_people_say_them(ask: Ask) -> None:
    seconds = {0.0123: "12 ms", 0.5: "0.5 s", 4.04: "4 s", 42.4: "42 s", 150: "2.5 min", 7200: "2 h"}
    assert {value: ask("format.js", "seconds", value) for value in seconds} == seconds
    sizes = {0: "0 B", 999: "999 B", 1000: "1 kB", 123_456: "123 kB", 20_971_520: "21 MB", 5_000_000_000: "5 GB"}
    assert {value: ask("format.js", "bytes", value) for value in sizes} == sizes
    assert ask("format.js", "seconds", None) == ask("format.js", "bytes", None) == "unknown"
    assert ask("format.js", "ago", 1000, 1005) == "just now"
    assert ask("format.js", "ago", 1000, 1000 + 3 * 60) == "3 min ago"


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"state": "queued", "position": 0}, "Waiting, next in line"),
        ({"state": "queued", "position": 3}, "Waiting, 3 ahead"),
        ({"state": "queued", "position": None}, "Waiting"),
        ({"state": "in_progress", "stage": None}, "Starting"),
        ({"state": "in_progress", "stage": "denoising", "step": 2, "steps": 9}, "Drawing, step 2 of 9"),
        ({"state": "in_progress", "stage": "denoising", "cancel_requested": True}, "Cancelling"),
        ({"state": "failed"}, "Failed"),
    ],
)
def test_what_goes_on_is_said_in_few_words(ask: Ask, known: dict[str, Any], said: str) -> None:
    assert ask("format.js", "stage", known) == said


def parsed(page: Page, pieces: list[str]) -> list[Any]:
    events: list[Any] = page.evaluate(
        """async (pieces) => {
            const { Parser } = await import("/web/event_stream.js");
            const parser = new Parser();
            return pieces.flatMap((piece) => [...parser.take(piece)]);
        }""",
        pieces,
    )
    return events


def test_an_event_stream_is_read_the_same_wherever_it_is_cut(ask: Ask, page: Page) -> None:
    del ask  # the page is open
    text = (
        ': ping\r\n\r\nid: 1\r\nevent: generation\r\ndata: {"a":\r\ndata: "ü: 1"}\r\n\r\n'
        "event: ready\ndata: {}\n\nevent: nothing\n\ndata: 2\r\r"
    )
    expected = [
        {"name": "generation", "data": {"a": "ü: 1"}},
        {"name": "ready", "data": {}},
        {"name": "message", "data": 2},
    ]
    # What follows the last CR is not known yet: it may be LF.
    assert parsed(page, [f"{text}x"]) == expected

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.integers(1, len(text)), max_size=12))
    def cut(places: list[int]) -> None:
        bounds = [0, *sorted(places), len(text)]
        pieces = [text[start:end] for start, end in itertools.pairwise(bounds)]
        assert parsed(page, [*pieces, "x"]) == expected

    cut()


VALUES = {"prompt": 'it\'s a "gull"\n$HOME `ls` \\ !', "model": "hf:a/b:fal-ai", "seed": 7, "fallback": False}


def test_what_is_copied_for_a_shell_says_exactly_what_was_asked(ask: Ask) -> None:
    words = shlex.split(
        ask("snippets.js", "asCurl", VALUES, {"image": False, "origin": "http://h:1", "needsKey": True})
    )
    assert words[:2] == ["curl", "http://h:1/v1/text-to-video"]
    assert json.loads(words[words.index("-d") + 1]) == VALUES
    assert "Authorization: Bearer $CINELET_KEY" in words
    without = ask("snippets.js", "asCurl", VALUES, {"image": False, "origin": "http://h:1", "needsKey": False})
    assert "Authorization" not in without
    form = shlex.split(ask("snippets.js", "asCurl", VALUES, {"image": True, "origin": "http://h:1", "needsKey": False}))
    assert f"prompt={VALUES['prompt']}" in form
    assert "image=@image.png" in form


def test_what_is_copied_for_the_command_line_is_a_command_of_ours(ask: Ask) -> None:
    from typer.testing import CliRunner

    from cinelet.cli.app import app
    from cinelet.domain.errors import AuthenticationError

    for prompt in (VALUES["prompt"], "--help is a film"):
        sizes = {"width": 64, "height": 32}
        values = {**VALUES, **sizes, "prompt": prompt, "num_inference_steps": 3, "quality": "exact"}
        # A shell reads on after a backslash at the end of a line; shlex does not.
        words = shlex.split(ask("snippets.js", "asCommand", values, {"image": False}).replace(" \\\n", " "))
        assert words[:2] == ["cinelet", "generate"]
        assert words[-1] == prompt
        assert {"--no-fallback", "64x32", "--steps", "--quality"} <= set(words)
        # It is understood up to the model, which no provider runs without a token.
        outcome = CliRunner().invoke(app, words[1:])
        assert isinstance(outcome.exception, AuthenticationError), outcome.output


LORAS = [{"path": "./my style.safetensors", "scale": 0.5}, {"path": "org/name"}]


@pytest.mark.parametrize(
    ("text", "loras"),
    [
        ("", []),
        (" ./my style.safetensors=0.5 \r\n\norg/name\n", LORAS),
        ("./my style.safetensors=0.5;org/name", LORAS),
        ("a=b.safetensors=-1", [{"path": "a=b.safetensors", "scale": -1}]),
        ("org/name=much", [{"path": "org/name=much"}]),
        ("=2", [{"path": "=2"}]),
        ("org/name=", [{"path": "org/name="}]),
    ],
)
def test_loras_are_read_from_lines(ask: Ask, text: str, loras: list[dict[str, Any]]) -> None:
    assert ask("loras.js", "lorasOf", text) == loras
    assert ask("loras.js", "lorasOf", ask("loras.js", "textOf", loras)) == loras


def test_loras_are_copied_as_every_door_takes_them(ask: Ask) -> None:
    values = {"prompt": "a gull", "lora": LORAS, "upscaler": "local:org/larger"}
    words = shlex.split(ask("snippets.js", "asCommand", values, {"image": False}).replace(" \\\n", " "))
    given = [word for option, word in itertools.pairwise(words) if option == "--lora"]
    assert given == ["./my style.safetensors=0.5", "org/name"]
    assert "local:org/larger" in words
    form = shlex.split(ask("snippets.js", "asCurl", values, {"image": True, "origin": "http://h:1", "needsKey": False}))
    (field,) = [word.removeprefix("lora=") for word in form if word.startswith("lora=")]
    assert json.loads(field) == LORAS
    assert ask("format.js", "shown", LORAS[:1]) == "./my style.safetensors=0.5"


def test_what_is_copied_for_python_asks_for_the_same(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    import cinelet

    asked: list[Any] = []

    class Video:
        def save(self, path: str) -> None:
            asked.append(path)

    def generate(*arguments: Any, **options: Any) -> Video:
        asked.append((arguments, options))
        return Video()

    monkeypatch.setattr(cinelet, "generate", generate)
    exec(compile(ask("snippets.js", "asPython", VALUES, {"image": False}), "snippet", "exec"), {})
    options = {name: value for name, value in VALUES.items() if name != "prompt"}
    assert asked == [((VALUES["prompt"],), options), "video.mp4"]


def test_sizes_are_the_models_own_its_shape_turned_and_others_on_its_grid(ask: Ask) -> None:
    facts = {"default_size": [832, 480], "size_multiple": 16, "limits": {"side": [16, 4096]}}
    sizes = ask("parts/size_picker.js", "sizesOf", facts)
    assert sizes[:2] == [[832, 480], [480, 832]]
    assert all(width % 16 == height % 16 == 0 for width, height in sizes)
    assert len({tuple(size) for size in sizes}) == len(sizes)
    assert ask("parts/size_picker.js", "sizesOf", {"default_size": None}) == []


def test_an_estimate_is_said_with_its_spread_and_the_wait(ask: Ask) -> None:
    estimate = {"seconds": 4.2, "low": 3.1, "high": 7.0, "samples": 12, "waiting": 30}
    assert ask("estimate.js", "inWords", estimate) == "About 4.2 s (3.1 s to 7 s), after 30 s of waiting"
    nothing = {"seconds": None, "low": None, "high": None, "samples": 0, "waiting": 0}
    assert ask("estimate.js", "inWords", nothing) == "Nothing was measured yet, so nobody knows how long it takes."
