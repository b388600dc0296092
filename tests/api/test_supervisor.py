"""Workers are started again when they die, later and later, and end when they are told to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from cinelet.api import supervisor
from cinelet.api.supervisor import Supervisor
from cinelet.clock import FakeClock

SECONDS = 20.0
DIES = [sys.executable, "-S", "-c", "pass"]
LIVES = "import pathlib, signal, sys, time; {}; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await work()

    asyncio.run(bounded())


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110  (a process changes it)
        await asyncio.sleep(0.01)


def test_who_dies_again_and_again_is_started_later_and_later() -> None:
    clock = FakeClock()

    async def work() -> None:
        async with Supervisor({"one": DIES}, clock=clock):
            await until(lambda: len(clock.pauses_seconds) >= 8)

    run(work)
    assert clock.pauses_seconds[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_who_refuses_at_first_is_named_and_left_and_later_started_again(tmp_path: Path) -> None:
    clock = FakeClock()
    refuses = [sys.executable, "-S", "-c", "raise SystemExit(2)"]
    # Its second start finds that the device is lost, which may come back.
    later = "import pathlib, sys; at = pathlib.Path(sys.argv[1]); sys.exit(2 if at.exists() else at.touch() or 1)"

    async def work() -> None:
        commands = {"a": refuses, "b": [sys.executable, "-S", "-c", later, str(tmp_path / "begun")]}
        async with Supervisor(commands, clock=clock) as it:
            assert await it.refusing.get() == "a"
            await until(lambda: len(clock.pauses_seconds) >= 4)
            assert it.refusing.empty()

    run(work)
    assert clock.pauses_seconds[:4] == [1, 2, 4, 8]


def test_who_was_well_for_long_is_started_again_soon(tmp_path: Path) -> None:
    clock = FakeClock()

    async def work() -> None:
        async with Supervisor(
            {"one": [sys.executable, "-S", "-c", LIVES.format("pass"), str(tmp_path / "up")]}, clock=clock
        ) as it:
            for times in range(1, 4):
                await until((tmp_path / "up").exists)
                (tmp_path / "up").unlink()
                clock.advance(supervisor.GOOD_SECONDS + 1)
                it.running["one"].kill()
                while len(clock.pauses_seconds) < times:  # noqa: ASYNC110  (a process changes it)
                    await asyncio.sleep(0.01)

    run(work)
    assert clock.pauses_seconds == [1, 1, 1]


@pytest.mark.parametrize("told_before", [True, False])
def test_a_stop_ends_all_and_starts_none(tmp_path: Path, *, told_before: bool) -> None:
    pids: list[int] = []

    async def work() -> None:
        commands = {
            name: [sys.executable, "-S", "-c", LIVES.format("pass"), str(tmp_path / name)] for name in ("a", "b")
        }
        async with Supervisor(commands) as it:
            await until(lambda: all((tmp_path / name).exists() for name in commands))
            pids.extend(process.pid for process in it.running.values())
            if told_before:
                it.stop()
                await until(lambda: all(process.returncode is not None for process in it.running.values()))
        assert [process.pid for process in it.running.values()] == pids

    run(work)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_who_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.2)
    deaf = LIVES.format("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    codes: list[int | None] = []

    async def work() -> None:
        async with Supervisor({"deaf": [sys.executable, "-S", "-c", deaf, str(tmp_path / "up")]}) as it:
            await until((tmp_path / "up").exists)
        codes.append(it.running["deaf"].returncode)

    run(work)
    assert codes == [-9]
