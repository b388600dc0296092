"""A model of another engine keeps the promises of a backend, for both tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from cinelet.backends.openai_videos import OpenAIVideosBackend
from cinelet.domain.backend import Backend
from cinelet.domain.request import Task
from cinelet.testing import BackendContract, ContractCase
from cinelet.transport.polling import PollSchedule
from tests.backends.openai_videos.fake_engine import MODEL, FakeEngine
from tests.transport.loopback import Loopback

URL = "https://engine.example/v1"


class TestAnotherEngine(BackendContract):
    unknown_model = f"openai:missing@{URL}"
    engine: ClassVar[FakeEngine]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running_engine(cls) -> Iterator[None]:
        with FakeEngine() as cls.engine:
            yield

    @classmethod
    def make_backend(cls) -> Backend:
        return OpenAIVideosBackend(
            transport=Loopback(cls.engine.port), schedule=PollSchedule(first_seconds=0, minimum_seconds=0.01)
        )

    @pytest.fixture(scope="class", params=Task)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> ContractCase:
        return ContractCase(f"openai:{MODEL}@{URL}", request.param, {"width": 64, "height": 48})
