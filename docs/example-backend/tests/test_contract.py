"""The example passes what every backend passes."""

import pytest
from cinelet_gradient import GradientBackend

from cinelet.domain.backend import Backend
from cinelet.testing import BackendContract, ContractCase


class TestGradientBackend(BackendContract):
    unknown_model = "gradient:nowhere"

    @classmethod
    def make_backend(cls) -> Backend:
        return GradientBackend()

    @pytest.fixture(scope="class", params=[ContractCase("gradient:flow", fields={"width": 96, "height": 64})], ids=str)
    def case(self, request: pytest.FixtureRequest) -> ContractCase:
        case: ContractCase = request.param
        return case
