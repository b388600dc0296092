"""Plain Hub ids: run by whoever serves them, else here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from cinelet.backends.hub import HubBackend
from cinelet.domain.backend import Context
from cinelet.domain.errors import ModelNotFoundError, ModelUnsupportedError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.testing import FakeBackend
from tests.jobs.loading_backend import LoadingBackend

MODEL = ModelReference.parse("org/name")


class Remote(FakeBackend):
    """Serves one model with two providers, knows another that nobody serves, and no third."""

    async def expand(self, model: ModelReference, _task: Task) -> Sequence[ModelReference]:
        if model.name == "org/name":
            return [ModelReference.parse(f"hf:org/name:{provider}") for provider in ("fal-ai", "together")]
        if model.name == "org/unserved":
            raise ModelUnsupportedError("nobody serves org/unserved", model.name)
        raise ModelNotFoundError(f"no {model}")


def ways(backend: HubBackend, model: str) -> list[str]:
    return list(map(str, asyncio.run(backend.expand(ModelReference.parse(model), Task.TEXT_TO_VIDEO))))


def test_a_model_that_providers_serve_runs_there():
    backend = HubBackend(remote=Remote, local=FakeBackend)
    assert ways(backend, "org/name") == ["hf:org/name:fal-ai", "hf:org/name:together"]


def test_a_model_that_nobody_serves_runs_here():
    assert ways(HubBackend(remote=Remote, local=FakeBackend), "org/unserved") == ["local:org/unserved"]


def test_a_model_that_nobody_serves_is_refused_where_nothing_can_run_it():
    with pytest.raises(ModelUnsupportedError, match="nobody serves"):
        ways(HubBackend(remote=Remote, local=None), "org/unserved")


def test_a_model_that_does_not_exist_is_not_looked_for_here():
    with pytest.raises(ModelNotFoundError):
        ways(HubBackend(remote=Remote, local=FakeBackend), "org/none")


def test_without_a_credential_a_model_runs_here_under_its_own_name(tmp_path: Path):
    here = FakeBackend()
    backend = HubBackend(remote=None, local=lambda: here)
    assert ways(backend, "org/name") == ["org/name"]
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a", model="org/name", duration=1)
    assert asyncio.run(backend.generate(request, Context(tmp_path))).model == "org/name"
    assert asyncio.run(backend.capabilities(MODEL)).model == "org/name"


def test_without_a_credential_and_without_what_runs_models_the_error_says_what_to_do():
    backend = HubBackend(remote=None, local=None)
    with pytest.raises(ModelUnsupportedError, match=r"HF_TOKEN.*pip install"):
        asyncio.run(backend.capabilities(MODEL))


def test_a_video_is_made_by_the_first_provider(tmp_path: Path):
    remote = Remote()
    backend = HubBackend(remote=lambda: remote, local=FakeBackend)
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="a", model="org/name", duration=1)
    assert asyncio.run(backend.generate(request, Context(tmp_path))).model == "hf:org/name:fal-ai"
    assert asyncio.run(backend.capabilities(MODEL)).model == "org/name"


class Local(FakeBackend):
    """Has one model on this machine."""

    async def revision(self, model: ModelReference) -> str | None:
        return "commit" if str(model) == "local:org/name" else None


def test_a_model_is_in_the_state_that_it_has_here_whoever_will_run_it():
    for backend in (HubBackend(remote=Remote, local=Local), HubBackend(remote=None, local=Local)):
        assert asyncio.run(backend.revision(MODEL)) == "commit"
        assert asyncio.run(backend.revision(ModelReference.parse("org/other"))) is None


def test_where_nothing_runs_here_or_can_tell_no_state_is_known():
    for backend in (HubBackend(remote=Remote, local=None), HubBackend(remote=None, local=FakeBackend)):
        assert asyncio.run(backend.revision(MODEL)) is None


def test_a_model_is_pulled_and_loaded_here_whoever_else_runs_it(tmp_path: Path):
    here = LoadingBackend()
    for remote, name in ((None, "org/name"), (Remote, "local:org/name")):
        backend = HubBackend(remote=remote, local=lambda: here)
        assert asyncio.run(backend.pull(MODEL, Context(tmp_path))).model == name
        assert asyncio.run(backend.load(MODEL, Context(tmp_path))).model == name
        assert asyncio.run(backend.unload(MODEL))
    with pytest.raises(ModelUnsupportedError, match=r"pip install 'cinelet\[local\]'"):
        asyncio.run(HubBackend(remote=Remote, local=None).load(MODEL, Context(tmp_path)))
