from __future__ import annotations

import asyncio
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest

from cinelet.backends.registry import ENTRY_POINT_GROUP, BackendRegistry, installed_plugins
from cinelet.domain.backend import Backend, Context
from cinelet.domain.condition import CircuitCondition, Condition, Device, LoadedModel
from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.lora import Lora
from cinelet.domain.model import ModelReference
from cinelet.testing import BackendContract, ContractCase, FakeBackend
from tests.jobs.loading_backend import LoadingBackend


class Revised(FakeBackend):
    """Knows the state of its models."""

    async def revision(self, model: ModelReference) -> str | None:
        return f"state of {model}"


class RefusesToClose(FakeBackend):
    async def aclose(self) -> None:
        raise RuntimeError("stuck")


class Breaks:
    """A plugin whose backend cannot be made."""

    made: ClassVar[int] = 0

    def __init__(self) -> None:
        type(self).made += 1
        raise OSError("no such device")


def plugin(scheme: str, value: str = "cinelet.testing:FakeBackend") -> dict[str, EntryPoint]:
    return {scheme: EntryPoint(scheme, value, ENTRY_POINT_GROUP)}


def backend_of(registry: BackendRegistry, reference: str) -> Backend:
    return registry.backend_of(ModelReference.parse(reference))


class TestRegistryOfFakes(BackendContract):
    unknown_model = "nobody:missing"

    @classmethod
    def make_backend(cls) -> Backend:
        return BackendRegistry({"local": FakeBackend}, plugins=lambda: plugin("fake"))

    @pytest.fixture(scope="class", params=["local:org/name", "fake:model"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> ContractCase:
        return ContractCase(request.param)


def test_each_scheme_has_its_backend_made_once_and_late() -> None:
    made: list[FakeBackend] = []

    def factory() -> FakeBackend:
        made.append(FakeBackend())
        return made[-1]

    registry = BackendRegistry({"local": factory, "embedded": factory}, plugins=dict)
    assert made == []
    assert backend_of(registry, "embedded") is backend_of(registry, "local:org/name") is made[0]
    assert len(made) == 1


def test_a_plugin_adds_a_scheme_and_does_not_take_a_built_in_one() -> None:
    registry = BackendRegistry({}, plugins=lambda: {**plugin("fake"), **plugin("openai"), **plugin("hf")})
    assert registry.schemes() == {"fake"}
    assert isinstance(backend_of(registry, "fake:x"), FakeBackend)
    with pytest.raises(ModelUnsupportedError):
        backend_of(registry, "openai:m@https://host.example/v1")


@pytest.mark.parametrize(
    ("reference", "todo"),
    [
        ("hf:org/name", "use one of: local"),
        ("unheard:of", "install the plugin"),
    ],
)
def test_a_scheme_that_nobody_serves_says_what_to_do(reference: str, todo: str) -> None:
    with pytest.raises(ModelUnsupportedError) as caught:
        backend_of(BackendRegistry({"local": FakeBackend}, plugins=dict), reference)
    assert reference in str(caught.value)
    assert todo in str(caught.value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_module:Backend", "does not load: ModuleNotFoundError"),
        (f"{__name__}:Breaks", "does not load"),
        ("builtins:dict", "does not make a Backend"),
    ],
)
def test_a_broken_plugin_is_named(value: str, why: str) -> None:
    with pytest.raises(ModelUnsupportedError, match=why) as caught:
        backend_of(BackendRegistry({}, plugins=lambda: plugin("odd", value)), "odd:x")
    assert value in str(caught.value)


def test_closing_closes_every_backend_even_if_one_refuses() -> None:
    fine = FakeBackend()
    registry = BackendRegistry({"local": RefusesToClose, "embedded": lambda: fine}, plugins=dict)
    backend_of(registry, "local:org/name")
    backend_of(registry, "embedded")
    with pytest.raises(ExceptionGroup, match="could not be closed"):
        asyncio.run(registry.aclose())
    assert fine.closed


def test_a_request_goes_to_the_backend_of_its_model(tmp_path: Path) -> None:
    one, other = FakeBackend(), FakeBackend()
    registry = BackendRegistry({"local": lambda: one, "embedded": lambda: other}, plugins=dict)
    asyncio.run(registry.generate(ContractCase("embedded").request(), Context(tmp_path)))
    assert (len(one.requests), len(other.requests)) == (0, 1)


def test_installed_plugins_are_found_by_their_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "odd-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[cinelet.backends]\nodd = cinelet.testing:FakeBackend\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(backend_of(BackendRegistry({}), "odd:x"), FakeBackend)
    assert "odd" in installed_plugins()


def test_a_model_is_in_the_state_that_its_backend_names() -> None:
    registry = BackendRegistry(
        {"local": Revised, "embedded": FakeBackend}, plugins=lambda: plugin("broken", "os:nothing")
    )

    def revision(reference: str) -> str | None:
        return asyncio.run(registry.revision(ModelReference.parse(reference)))

    assert revision("local:org/name") == "state of local:org/name"
    assert revision("embedded") is None, "its backend cannot tell"
    assert revision("hf:org/name") is None, "nobody serves it"
    assert revision("broken:model") is None, "its plugin does not load"


def test_a_lora_is_in_the_state_that_this_machine_names() -> None:
    class Takes(FakeBackend):
        async def lora_revision(self, lora: Lora) -> str | None:
            return f"state of {lora.path}"

    lora = Lora(path="org/style")
    assert asyncio.run(BackendRegistry({"local": Takes}, plugins=dict).lora_revision(lora)) == "state of org/style"
    assert asyncio.run(BackendRegistry({"local": FakeBackend}, plugins=dict).lora_revision(lora)) is None
    assert asyncio.run(BackendRegistry({}, plugins=dict).lora_revision(lora)) is None


def test_it_tells_how_all_backends_are_that_were_made_and_makes_none_for_that() -> None:
    here, there = FakeBackend(), FakeBackend()
    here.told = Condition(Device("cuda:0"), (LoadedModel("embedded", "cuda:0"),))
    there.told = Condition(circuits=(CircuitCondition("hf:org/name:fal-ai", "open", 5, 30.0),))
    registry = BackendRegistry(
        {"embedded": lambda: here, "hf": lambda: there}, plugins=lambda: plugin("odd", f"{__name__}:Breaks")
    )
    assert registry.condition() == Condition()
    for reference in ("hf:org/name", "embedded"):
        backend_of(registry, reference)
    assert registry.condition() == Condition(here.told.device, here.told.models, there.told.circuits)


def test_a_model_is_loaded_by_the_backend_of_its_scheme_and_refused_where_that_loads_nothing(tmp_path: Path):
    here, elsewhere = LoadingBackend(), FakeBackend()
    registry = BackendRegistry({"local": lambda: here, "hf": lambda: elsewhere}, plugins=dict)
    model, remote, context = ModelReference.parse("local:a/b"), ModelReference.parse("hf:a/b"), Context(tmp_path)
    assert asyncio.run(registry.pull(model, context)).bytes
    assert asyncio.run(registry.load(model, context)).model == "local:a/b"
    assert asyncio.run(registry.unload(model))
    for asked in (registry.pull(remote, context), registry.load(remote, context), registry.unload(remote)):
        with pytest.raises(ModelUnsupportedError, match="nothing is loaded for it; name a model that does"):
            asyncio.run(asked)


def test_what_nothing_serves_is_refused_by_name_before_any_backend_is_made() -> None:
    registry = BackendRegistry({"local": FakeBackend}, plugins=lambda: plugin("fake", "nowhere:Nothing"))
    for served in ("local:org/name", "fake:model", "auto"):
        registry.require_served(ModelReference.parse(served))
    with pytest.raises(ModelUnsupportedError, match=r"Nothing serves the scheme 'nobody' of nobody:x.*: fake, local"):
        registry.require_served(ModelReference.parse("nobody:x"))


def test_auto_is_a_choice_and_not_a_model_to_load() -> None:
    with pytest.raises(ModelUnsupportedError, match="auto is no model, but a choice among several; name one of them"):
        backend_of(BackendRegistry({"local": FakeBackend}, plugins=dict), "auto")
