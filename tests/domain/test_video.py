from __future__ import annotations

import gc
import hashlib
import json
import os
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cinelet.domain import video
from cinelet.domain.errors import ValidationError
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import Adjustment, VideoFacts
from cinelet.domain.video import VideoResult

CONTENT = b"\x00\x00\x00\x18ftypisom-not-really"


def result(folder: Path, *, name: str = "video.mp4", owned: bool = False, **values: Any) -> VideoResult:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(CONTENT)
    facts = VideoFacts(
        64, 48, Fraction(8), 8, 1.0, "h264", "mp4", False, len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
    )
    fields: dict[str, Any] = {
        "path": path,
        "request": VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a red circle", duration=1),
        "facts": facts,
        "model": "embedded",
        "requested_model": "embedded",
        "seed": 7,
        "applied": {"seed": 7},
        "adjustments": (),
        "attempts": (),
        "timings": {"denoising": 1.23456},
        "generation_time": 2.0,
        "owned_folder": folder if owned else None,
    }
    return VideoResult(**{**fields, **values})


def test_saving_copies_the_whole_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    assert result(tmp_path / "work").save(target) == target
    assert target.read_bytes() == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "work"]


def test_a_saved_file_has_the_modes_of_an_ordinary_one(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    saved = result(tmp_path / "work").save(tmp_path / "out.mp4")
    assert saved.stat().st_mode == ordinary.stat().st_mode


def test_saving_refuses_what_exists_unless_told(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("mine")
    made = result(tmp_path / "work")
    with pytest.raises(ValidationError, match="exists already"):
        made.save(target)
    assert target.read_text() == "mine"
    made.save(target, overwrite=True)
    assert target.read_bytes() == CONTENT


def test_saving_never_replaces_a_file_that_appears_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.mp4"

    def somebody_else_is_faster(_source: object, _copy: object, _size: int) -> None:
        target.write_text("theirs")

    monkeypatch.setattr("shutil.copyfileobj", somebody_else_is_faster)
    with pytest.raises(ValidationError, match="exists already"):
        result(tmp_path / "work").save(target)
    assert target.read_text() == "theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "work"]


@pytest.mark.parametrize("exists", [True, False])
def test_saving_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    def no_links(_source: object, _target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    target = tmp_path / "out.mp4"
    if exists:
        target.touch()
        with pytest.raises(ValidationError):
            result(tmp_path / "work").save(target)
    else:
        assert result(tmp_path / "work").save(target).read_bytes() == CONTENT


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", disk_is_full)
    with pytest.raises(ValidationError, match="No space left"):
        result(tmp_path / "work").save(tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


@pytest.mark.parametrize("name", ["n" * 300, "a\0b.mp4", "~no-such-user/out.mp4"])
def test_a_name_that_no_file_can_have_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match="cannot be written"):
        result(tmp_path / "work").save(name)


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="cannot be written"):
        result(tmp_path / "work").save(tmp_path / "missing" / "out.mp4")


def test_a_name_may_lack_its_suffix_or_be_a_folder(tmp_path: Path) -> None:
    made = result(tmp_path / "work")
    assert made.save(tmp_path / "clip").name == "clip.mp4"
    (tmp_path / "folder").mkdir()
    assert made.save(str(tmp_path / "folder")) == tmp_path / "folder" / "video.mp4"


def test_a_suffix_that_promises_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"name it out\.mp4"):
        result(tmp_path / "work").save(tmp_path / "out.webm")


def test_an_owned_folder_goes_with_the_result(tmp_path: Path) -> None:
    made = result(tmp_path / "work", owned=True)
    del made
    gc.collect()
    assert not (tmp_path / "work").exists()


def test_an_owned_folder_goes_on_close_and_saved_copies_stay(tmp_path: Path) -> None:
    with result(tmp_path / "work", owned=True) as made:
        made.save(tmp_path / "out.mp4")
    made.close()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_result_that_was_closed_says_so_when_it_is_to_be_saved(tmp_path: Path) -> None:
    made = result(tmp_path / "work", owned=True)
    made.close()
    with pytest.raises(ValidationError, match="The video is gone, as its result was closed"):
        made.save(tmp_path / "out.mp4")


def test_a_folder_of_somebody_else_stays(tmp_path: Path) -> None:
    result(tmp_path / "work").close()
    assert (tmp_path / "work" / "video.mp4").exists()


def test_the_result_is_json_with_the_specifications_names(tmp_path: Path) -> None:
    change = Adjustment("fps", 60, 8, "the model is slow")
    made = json.loads(json.dumps(result(tmp_path / "work", adjustments=(change,)).to_dict()))
    assert (made["video_size"], made["duration"], made["fps"], made["resolution"]) == (len(CONTENT), 1.0, 8, "64x48")
    assert made["adjustments"] == [{"parameter": "fps", "requested": 60, "applied": 8, "reason": "the model is slow"}]
    assert made["asked"]["prompt"] == "a red circle"
    assert made["timings"] == {"denoising": 1.235}


def test_an_image_is_told_as_its_size(tmp_path: Path) -> None:
    asked = VideoRequest(task=Task.IMAGE_TO_VIDEO, image=b"12345")
    assert result(tmp_path / "work", request=asked).asked["image_size"] == 5


@pytest.mark.parametrize(("mode", "words"), [("use", ""), ("refresh", "--cache refresh"), ("off", "--cache off")])
def test_the_command_says_how_the_cache_was_used_unless_that_is_the_usual_way(
    tmp_path: Path, mode: str, words: str
) -> None:
    asked = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a red circle", cache=mode)
    made = result(tmp_path / "work", request=asked)
    assert words in made.command()
    assert ("--cache" in made.command()) == bool(words)
    assert made.asked["cache"] == mode


def test_a_result_says_where_it_came_from(tmp_path: Path) -> None:
    assert result(tmp_path / "made").to_dict()["cache"] == "off"
    assert result(tmp_path / "hit", cache="hit").to_dict()["cache"] == "hit"


def test_the_command_repeats_what_was_asked_with_the_seed_that_was_used(tmp_path: Path) -> None:
    asked = VideoRequest(
        task=Task.IMAGE_TO_VIDEO, image=b"x", prompt="it's a 'cat'; rm -rf /", width=64, height=48, fps=5, codec="av1"
    )
    words = shlex.split(result(tmp_path / "work", request=asked).command(image="my cat.png", output="out.mp4"))
    assert words[:2] == ["cinelet", "generate"]
    assert words[-1] == "it's a 'cat'; rm -rf /"
    options = dict(zip(words[2:-1:2], words[3:-1:2], strict=True))
    assert options == {
        "--image": "my cat.png",
        "--model": "embedded",
        "--duration": "6",
        "--fps": "5",
        "--size": "64x48",
        "--codec": "av1",
        "--image-fit": "crop",
        "--seed": "7",
        "--output": "out.mp4",
    }


def test_a_prompt_that_looks_like_an_option_is_kept_apart(tmp_path: Path) -> None:
    asked = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="--help")
    assert shlex.split(result(tmp_path / "work", request=asked).command())[-2:] == ["--", "--help"]


def test_a_notebook_shows_a_player_and_escapes_what_was_typed(tmp_path: Path) -> None:
    asked = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="<script>alert(1)</script>")
    change = Adjustment("prompt", "<b>", None, "<i>unknown</i>")
    bundle = result(tmp_path / "work", request=asked, adjustments=(change,))._repr_mimebundle_()
    assert 'src="data:video/mp4;base64,AAAAGGZ0eXBpc29tLW5vdC1yZWFsbHk="' in bundle["text/html"]
    assert "<script>" not in bundle["text/html"]
    assert "<i>" not in bundle["text/html"]
    assert bundle["text/plain"] == "<VideoResult 64x48, 1 s at 8 fps, h264, 0.0 kB>"


def test_a_notebook_says_so_when_the_file_is_gone_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = result(tmp_path / "work", name="video.webm", owned=True)
    assert "data:video/webm" in made._repr_html_()
    monkeypatch.setattr(video, "MAX_EMBEDDED_BYTES", 1)
    assert "Too large" in made._repr_html_()
    made.close()
    assert "closed" in made._repr_html_()


def test_reading_gives_the_file(tmp_path: Path) -> None:
    assert result(tmp_path / "work").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["work"]  # noqa: PTH208
