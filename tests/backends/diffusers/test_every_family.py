"""Every pipeline that makes a video of a text or a picture does so here: true architectures, tiny random weights.

What they are found to do is kept in `findings.json`, of which the table in the documents is made: `make families`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cinelet.backends.diffusers.quiet import quiet_libraries
from docs.families import DOCUMENT, FINDINGS, written
from tests.backends.diffusers.stand_ins import stand_ins
from tests.backends.diffusers.trial import SIDE, Trial, findings, nature
from tests.backends.diffusers.video_pipelines import refused_pipelines, video_pipelines
from tests.conftest import TinyPipeline
from tests.tiny_pipelines import TASKS

NEW = os.environ.get("FAMILY_FINDINGS")
"""The folder that `make families` wants new findings in."""

CASES = [(name, task) for name, tasks in TASKS.items() for task in tasks]


@pytest.fixture(params=CASES, ids="-".join)
def trial(request: pytest.FixtureRequest, tiny_pipeline: TinyPipeline, tmp_path: Path) -> Iterator[Trial]:
    name, task = request.param
    with quiet_libraries(), stand_ins():
        trial = Trial(name, task, tiny_pipeline(name), tmp_path)
        yield trial
        trial.close()


def test_a_pipeline_makes_videos_as_it_is_asked(trial: Trial) -> None:
    found = findings(trial)
    assert found["frames"] == 8
    changed = [size for size in found["size_changed"] if size is not None]
    if found["size_changed"] != [None]:
        assert found["size"] == (changed or [f"{SIDE}x{SIDE}"])[0]
    assert found["steps"][0] == found["steps"][1] > 0
    assert found["steps_after_a_cancel"] <= 1
    assert found["repeats"]
    assert found["seed_counts"]
    assert found["left_on_the_pipeline"] == []
    assert found.get("prompt_counts", True)
    assert found.get("picture_counts", True)
    told = {**nature(trial), "found": {str(trial.task): found}}
    if NEW:
        (Path(NEW) / f"{trial.name}-{trial.task}.json").write_text(json.dumps({"name": trial.name, **told}))
        return
    kept = json.loads(FINDINGS.read_text())[trial.name]
    assert told == kept | {"found": {str(trial.task): kept["found"][trial.task]}}, "make families writes it anew"


def test_every_pipeline_of_diffusers_has_run_or_is_refused_with_a_reason() -> None:
    ran = {told["class"] for told in json.loads(FINDINGS.read_text()).values()}
    assert ran | set(refused_pipelines()) >= video_pipelines()
    assert not ran & set(refused_pipelines())


def test_every_tiny_pipeline_has_run_for_each_of_its_tasks() -> None:
    kept = {name: set(told["found"]) for name, told in json.loads(FINDINGS.read_text()).items()}
    assert kept == {name: set(map(str, tasks)) for name, tasks in TASKS.items()}


def test_the_documents_show_what_was_found() -> None:
    document = DOCUMENT.read_text()
    assert document == written(document, json.loads(FINDINGS.read_text())), "make families writes the table anew"
