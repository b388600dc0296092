"""For authors of backends: a backend that needs no model, and the suite that every backend passes.

```python
from cinelet.testing import BackendContract, ContractCase


class TestMyBackend(BackendContract):
    unknown_model = "mine:missing"

    @classmethod
    def make_backend(cls) -> Backend:
        return MyBackend()

    @pytest.fixture(scope="class", params=[ContractCase("mine:model", Task.TEXT_TO_VIDEO)], ids=str)
    @classmethod
    def case(cls, request):
        return request.param
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cinelet.testing.fake_backend import FakeBackend
from cinelet.testing.frames import decoded_frames, example_image

if TYPE_CHECKING:
    from cinelet.testing.contract import BackendContract, ContractCase

__all__ = ["BackendContract", "ContractCase", "FakeBackend", "decoded_frames", "example_image"]


def __getattr__(name: str) -> Any:
    # Late: the fake serves programs that have no pytest.
    if name in {"BackendContract", "ContractCase"}:
        import pytest

        # Its asserts then explain themselves, as those of a test module do.
        pytest.register_assert_rewrite("cinelet.testing.contract")
        from cinelet.testing import contract

        return getattr(contract, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
