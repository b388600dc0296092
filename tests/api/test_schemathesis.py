"""Whatever the description allows or forbids, the service answers as it is described, and never fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cinelet.jobs.keys import Keys, Role
from cinelet.testing import FakeBackend
from tests.api.served import Served

EXAMPLES = 15
LIMIT_SECONDS = 500
CONFIG = """
hooks = "{hooks}"

[checks.positive_data_acceptance]
# 422 too: a description cannot say which models there are, nor what each of them can do.
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 422, 429]
"""


@pytest.fixture(scope="module")
def keyed(copy_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    data = copy_data(tmp_path_factory.mktemp("schemathesis") / "data")
    with Served(data, make_backend=lambda: FakeBackend(size=(64, 64))) as served:
        _, secret = served.with_database(lambda database: Keys(database).create("fuzz", role=Role.ADMIN))
        yield served, secret


# asyncio drops the socket of a client that left before its connection was made, and the fuzzer leaves often.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.slow
@pytest.mark.parametrize("phases", ["examples,coverage", "fuzzing", "stateful"])
def test_the_service_does_what_its_description_says(keyed: tuple[Served, str], tmp_path: Path, phases: str) -> None:
    served, secret = keyed
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(hooks=str(Path(__file__).with_name("schemathesis_hooks.py"))))
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--config-file", str(config), "run", f"{served.url}/openapi.json", "--seed", "7", "--no-color"]
    command += ["--checks", "all", "--phases", phases, "--max-examples", str(EXAMPLES)]
    command += ["--exclude-path", "/v1/events"]  # its answer has no end
    command += ["-H", f"Authorization: Bearer {secret}"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    found = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
    )
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr[-2000:]
