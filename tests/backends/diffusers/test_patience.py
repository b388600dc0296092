"""PyTorch's threads sleep soon, so that a busy machine is slower in proportion, and not ten times."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os
import sys

from cinelet.backends.diffusers.quiet import quiet_libraries

assert "torch" not in sys.modules
with quiet_libraries():
    assert "torch" in sys.modules
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
    ids=["nothing", "a count", "a policy"],
)
def test_threads_spin_little_unless_the_user_says_otherwise(given: dict[str, str], spins: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env={**kept, **given}, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == spins
