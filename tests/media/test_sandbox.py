from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cinelet.media.sandbox import Sandbox, SandboxError, SandboxLimits, run_limited
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


@posix
def test_one_child_obeys_again_and_again_and_no_order_sees_an_earlier_one():
    with Sandbox(sandbox_guests.count) as sandbox:
        assert [sandbox.run(None, limits=ROOMY) for _ in range(3)] == [1, 1, 1]
        assert sandbox.usable


@posix
@pytest.mark.parametrize("misdeed", ["crash", "spin", "hang", "leave"])
def test_a_child_goes_on_after_an_order_that_ended_badly(misdeed):
    with Sandbox(sandbox_guests.misbehave) as sandbox:
        with pytest.raises(SandboxError):
            sandbox.run(misdeed, limits=SandboxLimits(wall_seconds=1, cpu_seconds=1))
        assert sandbox.run("", limits=ROOMY) == "good"


@posix
def test_an_order_reaches_neither_the_orders_to_come_nor_the_parent():
    with Sandbox(sandbox_guests.meddle) as sandbox:
        assert sandbox.run(None, limits=ROOMY) == {"read": "", "wrote": False}
        assert sandbox.run(None, limits=ROOMY) == {"read": "", "wrote": False}


@posix
def test_a_closed_child_takes_its_busy_fork_with_it(tmp_path: Path):
    sandbox = Sandbox(sandbox_guests.hang_and_say_who)
    pid_file = tmp_path / "pid"
    roomy = SandboxLimits(wall_seconds=120, cpu_seconds=30)

    def run() -> None:
        with pytest.raises(SandboxError):
            sandbox.run(str(pid_file), limits=roomy)

    runner = threading.Thread(target=run)
    runner.start()
    while not pid_file.exists() or not pid_file.read_text():
        assert runner.is_alive()
    sandbox._kill()
    runner.join(timeout=30)
    sandbox.close()
    end = time.monotonic() + 30
    while not _is_dead(int(pid_file.read_text())):
        assert time.monotonic() < end, "the fork lives on"


def _is_dead(pid: int) -> bool:
    """Tell whether a process has ended, also where nobody has asked for its exit code yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"
