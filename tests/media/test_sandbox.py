from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cinelet.media.sandbox import SandboxError, SandboxLimits, run_limited
from tests.media import sandbox_guests

ROOMY = SandboxLimits(wall_seconds=30, cpu_seconds=30)
posix = pytest.mark.skipif(os.name != "posix", reason="resource limits are a POSIX matter")


def refused(function: Callable[[Any], Any], argument: Any, limits: SandboxLimits) -> SandboxError:
    with pytest.raises(SandboxError) as caught:
        run_limited(function, argument, limits=limits)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_function_runs_in_another_process_and_its_result_comes_back():
    assert run_limited(sandbox_guests.double, 21, limits=ROOMY) == 42
    assert run_limited(sandbox_guests.look_around, None, limits=ROOMY)["pid"] != os.getpid()


@posix
def test_the_child_sees_no_variable_and_so_no_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    around = run_limited(sandbox_guests.look_around, None, limits=ROOMY)
    assert "HF_TOKEN" not in around["variables"]


def test_the_child_loads_nothing_of_ours_but_the_function():
    modules = run_limited(sandbox_guests.look_around, None, limits=ROOMY)["modules"]
    assert not [name for name in modules if name.split(".")[0] in {"cinelet", "numpy", "pydantic", "site"}]


def test_an_exception_comes_back_as_its_name_and_its_message():
    error = refused(sandbox_guests.raise_value_error, "no such thing", ROOMY)
    assert (error.reason, error.raised, str(error)) == ("raised", "ValueError", "no such thing")


@posix
def test_a_child_that_allocates_too_much_is_stopped():
    error = refused(
        sandbox_guests.allocate, 4 * 1024**3, SandboxLimits(wall_seconds=30, cpu_seconds=30, memory_bytes=512 * 1024**2)
    )
    assert error.reason == "memory"
    assert "512 MiB" in str(error)


@posix
def test_a_child_that_spins_is_stopped_by_its_processor_time():
    error = refused(sandbox_guests.spin, None, SandboxLimits(wall_seconds=60, cpu_seconds=1))
    assert error.reason == "cpu"
    assert "1 s of processor time" in str(error)


def test_a_child_that_waits_for_ever_is_stopped_by_the_clock():
    started = time.monotonic()
    error = refused(sandbox_guests.hang, None, SandboxLimits(wall_seconds=0.5, cpu_seconds=30))
    assert error.reason == "wall"
    assert "0.5 s" in str(error)
    assert time.monotonic() - started < 15


@posix
def test_a_child_that_crashes_takes_nobody_with_it():
    error = refused(sandbox_guests.crash, None, ROOMY)
    assert error.reason == "crashed"
    assert "SIGSEGV" in str(error)


def test_a_child_that_ends_without_an_answer_is_a_crash():
    error = refused(sandbox_guests.leave, 7, ROOMY)
    assert (error.reason, str(error)) == ("crashed", "it ended with exit code 7 (no message)")


@posix
def test_a_child_cannot_fill_the_disk(tmp_path: Path):
    target = tmp_path / "much"
    assert refused(sandbox_guests.write_much, str(target), ROOMY).raised == "OSError"
    assert target.stat().st_size <= ROOMY.output_bytes


@posix
def test_a_child_cannot_flood_its_parent():
    assert refused(sandbox_guests.answer_much, 8 * 1024**2, ROOMY).reason == "crashed"
