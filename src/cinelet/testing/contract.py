"""The suite that every backend passes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest

from cinelet.clock import FakeClock, SystemClock
from cinelet.domain.backend import Backend, Capabilities, Context, GeneratedVideo
from cinelet.domain.errors import (
    CineletError,
    DeadlineExceededError,
    GenerationCancelledError,
    ModelUnsupportedError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task, VideoRequest
from cinelet.testing.frames import decoded_frames, example_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OPTIONAL_PARAMETERS: Mapping[str, Any] = {
    "negative_prompt": "blurry",
    "guidance_scale": 4.5,
    "num_inference_steps": 3,
    "seed": 7,
}
"""Parameters that a model may not know, and a value to try each with."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class ContractCase:
    """One model and task that a backend must serve; `fields` are put into every request (a small size, few steps)."""

    model: str
    task: Task = Task.TEXT_TO_VIDEO
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.model}-{self.task}"

    def request(self, **changes: Any) -> VideoRequest:
        """Return a one-second request of this case, with `changes`."""
        image = example_image() if self.task is Task.IMAGE_TO_VIDEO else None
        values = {"prompt": "a red circle moving left", "image": image, "duration": 1, "fps": 8, "seed": 1234}
        return VideoRequest(task=self.task, model=self.model, **{**values, **self.fields, **changes})


class BackendContract:
    """What every backend must do. Subclass it in a test module, give `make_backend`, `case` and `unknown_model`."""

    unknown_model: ClassVar[str]
    """A reference that the backend is asked for and does not have."""

    @classmethod
    def make_backend(cls) -> Backend:
        """Return a new backend; it is made once a class and closed at its end."""
        raise TypeError(f"{cls.__name__} must define make_backend")

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ContractCase:
        """Return the model and task under test; parametrise it for many."""
        raise TypeError(f"{cls.__name__} must define the fixture case")

    @pytest.fixture(scope="class")
    @classmethod
    def session(cls) -> Iterator[_Session]:
        """Run the class's tests in one event loop, as a service does."""
        with asyncio.Runner() as runner:
            session = _Session(cls.make_backend(), runner)
            yield session
            runner.run(session.backend.aclose())

    def test_the_file_has_the_duration_rate_and_size_asked(
        self, session: _Session, case: ContractCase, tmp_path: Path
    ) -> None:
        from cinelet.media.probe import probe

        request = case.request(duration=1.5, fps=6)
        video = session.generate(request, Context(tmp_path))
        facts = probe(video.path)
        assert video.path.parent == tmp_path
        assert (facts.frames, facts.fps) == (9, Fraction(6))
        assert facts.duration == pytest.approx(1.5, abs=0.01)
        if request.width is not None and not _adjusted(video, "width", "height", "size"):
            assert (facts.width, facts.height) == (request.width, request.height)

    def test_the_same_seed_gives_the_same_frames(self, session: _Session, case: ContractCase, tmp_path: Path) -> None:
        first, again = (session.frames(case.request(seed=99), tmp_path / name) for name in ("first", "again"))
        assert first.shape == again.shape
        assert (first == again).all()

    def test_another_seed_gives_other_frames(self, session: _Session, case: ContractCase, tmp_path: Path) -> None:
        if "seed" not in session.capabilities(case).parameters:
            pytest.skip("the model takes no seed")
        first, other = (session.frames(case.request(seed=seed), tmp_path / str(seed)) for seed in (1, 2))
        assert (first != other).any()

    def test_a_seed_that_was_not_given_is_chosen_and_reported(
        self, session: _Session, case: ContractCase, tmp_path: Path
    ) -> None:
        if "seed" not in session.capabilities(case).parameters:
            pytest.skip("the model takes no seed")
        chosen = session.generate(case.request(seed=None), Context(_made(tmp_path / "chosen")))
        assert chosen.seed is not None
        repeated = session.frames(case.request(seed=chosen.seed), tmp_path / "repeated")
        assert (decoded_frames(chosen.path) == repeated).all()

    def test_progress_only_grows_and_counts_the_denoising_steps(
        self, session: _Session, case: ContractCase, tmp_path: Path
    ) -> None:
        seen: list[Progress] = []
        session.generate(case.request(), Context(tmp_path, on_progress=seen.append))
        fractions = [progress.fraction for progress in seen]
        denoising = [progress for progress in seen if progress.stage is Stage.DENOISING and progress.step > 0]
        assert fractions == sorted(fractions)
        assert 0.0 <= fractions[0] <= fractions[-1] <= 1.0
        assert denoising, "no denoising step was reported"
        assert all(progress.step <= progress.steps for progress in denoising)
        assert denoising[-1].step == denoising[-1].steps
        assert all(denoising[-1].fraction <= progress.fraction for progress in seen if progress.stage is Stage.ENCODING)

    def test_a_cancel_stops_within_one_step_and_leaves_no_file(
        self, session: _Session, case: ContractCase, tmp_path: Path
    ) -> None:
        steps_after: list[Progress] = []

        def cancel_at_the_first_step(progress: Progress) -> None:
            if context.cancelled:
                steps_after.append(progress)
            elif progress.stage is Stage.DENOISING and progress.step > 0:
                context.cancel()

        context = Context(tmp_path, on_progress=cancel_at_the_first_step)
        with pytest.raises(GenerationCancelledError):
            session.generate(case.request(), context)
        assert context.cancelled
        assert len(steps_after) <= 1
        assert list(tmp_path.iterdir()) == []

    def test_cancelling_the_awaiting_task_stops_the_work(
        self, session: _Session, case: ContractCase, tmp_path: Path
    ) -> None:
        context = Context(tmp_path)

        async def cancelled_at_the_first_report() -> None:
            task = asyncio.ensure_future(session.backend.generate(case.request(), context))
            while context.latest is None and not task.done():
                await SystemClock().pause_async(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        session.run(cancelled_at_the_first_report())
        assert context.cancelled
        assert list(tmp_path.iterdir()) == []

    def test_a_deadline_stops_the_work_and_leaves_no_file(
        self, session: _Session, case: ContractCase, tmp_path: Path
    ) -> None:
        clock = FakeClock()

        def an_hour_passes(progress: Progress) -> None:
            if progress.stage is Stage.DENOISING and progress.step > 0:
                clock.advance(3600)

        context = Context(tmp_path, deadline_seconds=60, on_progress=an_hour_passes, monotonic=clock.monotonic)
        with pytest.raises(DeadlineExceededError):
            session.generate(case.request(), context)
        assert list(tmp_path.iterdir()) == []

    def test_what_happened_before_does_not_change_the_next_video(
        self, session: _Session, case: ContractCase, tmp_path: Path
    ) -> None:
        expected = session.frames(case.request(), tmp_path / "before")
        context = Context(_made(tmp_path / "cancelled"))
        context.cancel()
        with pytest.raises(GenerationCancelledError):
            session.generate(case.request(), context)
        assert (session.frames(case.request(), tmp_path / "after") == expected).all()

    def test_requests_at_the_same_time_do_not_disturb_each_other(
        self, session: _Session, case: ContractCase, tmp_path: Path
    ) -> None:
        requests = [case.request(seed=seed) for seed in (1, 2)]
        alone = [session.frames(request, tmp_path / f"alone-{request.seed}") for request in requests]
        contexts = [Context(_made(tmp_path / f"together-{request.seed}")) for request in requests]

        async def both() -> list[GeneratedVideo]:
            return await asyncio.gather(*map(session.backend.generate, requests, contexts))

        together = [decoded_frames(video.path) for video in session.run(both())]
        assert all((a == b).all() for a, b in zip(alone, together, strict=True))

    @pytest.mark.parametrize("parameter", OPTIONAL_PARAMETERS)
    def test_a_parameter_without_effect_is_reported(
        self, session: _Session, case: ContractCase, tmp_path: Path, parameter: str
    ) -> None:
        value = OPTIONAL_PARAMETERS[parameter]
        video = session.generate(case.request(**{parameter: value}), Context(tmp_path))
        ignored = [found for found in video.adjustments if found.parameter == parameter and found.applied is None]
        if parameter in session.capabilities(case).parameters:
            assert ignored == []
        else:
            assert [found.requested for found in ignored] == [value]
            assert all(found.reason for found in ignored)

    def test_capabilities_name_the_task_and_known_parameters(self, session: _Session, case: ContractCase) -> None:
        capabilities = session.capabilities(case)
        assert case.task in capabilities.tasks
        assert capabilities.parameters <= set(VideoRequest.model_fields)
        assert capabilities.runs_on

    @pytest.mark.parametrize("task", Task)
    def test_a_task_that_the_model_lacks_is_refused(
        self, session: _Session, case: ContractCase, tmp_path: Path, task: Task
    ) -> None:
        if task in session.capabilities(case).tasks:
            pytest.skip("the model has this task")
        with pytest.raises(ModelUnsupportedError):
            session.generate(ContractCase(case.model, task, case.fields).request(), Context(tmp_path))
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_model_is_a_typed_error(self, session: _Session, tmp_path: Path) -> None:
        with pytest.raises(CineletError) as asked:
            session.run(session.backend.capabilities(ModelReference.parse(self.unknown_model)))
        with pytest.raises(CineletError) as generated:
            session.generate(ContractCase(self.unknown_model).request(), Context(tmp_path))
        assert type(asked.value) is type(generated.value)
        assert "\n" not in str(generated.value)
        assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True, slots=True)
class _Session:
    """A backend and the event loop that it lives in."""

    backend: Backend
    runner: asyncio.Runner

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return self.runner.run(work)

    def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        return self.run(self.backend.generate(request, context))

    def frames(self, request: VideoRequest, folder: Path) -> NDArray[np.uint8]:
        return decoded_frames(self.generate(request, Context(_made(folder))).path)

    def capabilities(self, case: ContractCase) -> Capabilities:
        return self.run(self.backend.capabilities(ModelReference.parse(case.model)))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _adjusted(video: GeneratedVideo, *parameters: str) -> bool:
    return any(adjustment.parameter in parameters for adjustment in video.adjustments)
