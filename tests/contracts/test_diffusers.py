"""Every kind of diffusers pipeline keeps the promises of a backend, for each task that it has."""

from __future__ import annotations

import pytest

from cinelet.backends.diffusers import DiffusersBackend
from cinelet.domain.backend import Backend
from cinelet.domain.request import Task
from cinelet.testing import BackendContract, ContractCase
from tests.conftest import TinyPipeline
from tests.tiny_pipelines import KINDS, TASKS

SLOW_TO_DECODE = {"cogvideox", "cogvideox_i2v", "hunyuan_video", "hunyuan_video15", "mochi"}
CASES = [(name, task) for name in KINDS for task in TASKS[name]]


class TestTinyPipelines(BackendContract):
    unknown_model = "local:./no-such-model"

    @classmethod
    def make_backend(cls) -> Backend:
        return DiffusersBackend(device="cpu")

    @pytest.fixture(scope="class", params=CASES, ids="-".join)
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tiny_pipeline: TinyPipeline) -> ContractCase:
        name: str
        task: Task
        name, task = request.param
        side = 32 if name in SLOW_TO_DECODE else 64
        return ContractCase(
            f"local:{tiny_pipeline(name)}", task, {"width": side, "height": side, "num_inference_steps": 2}
        )
