"""Whose turn it is: in order, together where they are alike, and never in the way of each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

import pytest

from cinelet.backends.diffusers.turns import Turn, Turns, check_company

AT_LONGEST = 20.0


class GoneError(Exception):
    """What the check of somebody who left raises."""


class Device:
    """Runs words: each run waits until it may go on, and gives each word back in capitals."""

    def __init__(self, *, most: int, open_from_the_start: bool = False) -> None:
        self.may_end = threading.Event()
        if open_from_the_start:
            self.may_end.set()
        self.began = threading.Semaphore(0)
        self.runs: list[list[str]] = []
        self.turns: Turns[str, str] = Turns(self._run, most=most)

    def _run(self, turn: Turn[str, str]) -> None:
        company = [turn, *self.turns.others(turn, most=99)]
        self.runs.append([each.work for each in company])
        self.began.release()
        while not self.may_end.wait(0.01):
            check_company(company)
        if turn.work == "bad":
            raise ValueError("a bad word")
        for each in company:
            self.turns.end(each, result=each.work.upper())

    def ask(self, word: str, *, alike: Hashable = None, check: Callable[[], None] = lambda: None) -> Asked:
        return Asked(self, word, alike, check)


class Asked:
    """Somebody who waits for a word, in a thread of his own."""

    def __init__(self, device: Device, word: str, alike: Hashable, check: Callable[[], None]) -> None:
        self.result: str | None = None
        self.error: Exception | None = None
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=[device, word, alike, check])
        self._thread.start()

    def _ask(self, device: Device, word: str, alike: Hashable, check: Callable[[], None]) -> None:
        def checked() -> None:
            check()
            if self._leave.is_set():
                raise GoneError

        try:
            self.result = device.turns.take(word, check=checked, alike=alike)
        except Exception as error:  # noqa: BLE001  (told to whoever asked)
            self.error = error

    def leave(self) -> None:
        self._leave.set()

    def wait(self) -> Asked:
        self._thread.join(AT_LONGEST)
        assert not self._thread.is_alive()
        return self


def queued(device: Device, count: int) -> None:
    end = time.monotonic() + AT_LONGEST
    while len(device.turns._waiting) < count:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_work_runs_in_the_order_in_which_it_comes_one_after_another() -> None:
    device = Device(most=1)
    asked = []
    for number, word in enumerate("abcd"):
        asked.append(device.ask(word, alike="same"))
        queued(device, number) if number else device.began.acquire(timeout=AT_LONGEST)
    device.may_end.set()
    assert [each.wait().result for each in asked] == ["A", "B", "C", "D"]
    assert device.runs == [["a"], ["b"], ["c"], ["d"]]


def test_those_that_are_alike_and_wait_run_together_up_to_the_limit() -> None:
    device = Device(most=3)
    first = device.ask("first")
    assert device.began.acquire(timeout=AT_LONGEST)
    asked = []
    for number, (word, alike) in enumerate(
        [("a", 1), ("x", 2), ("b", 1), ("c", 1), ("d", 1), ("y", None), ("z", None)]
    ):
        asked.append(device.ask(word, alike=alike))
        queued(device, number + 1)
    device.may_end.set()
    assert [each.wait().result for each in asked] == ["A", "X", "B", "C", "D", "Y", "Z"]
    first.wait()
    assert device.runs == [["first"], ["a", "b", "c"], ["x"], ["d"], ["y"], ["z"]]


def test_one_that_leaves_a_run_of_several_disturbs_nobody_and_waits_for_nobody() -> None:
    device = Device(most=2)
    device.may_end.clear()
    blocker = device.ask("blocker")
    assert device.began.acquire(timeout=AT_LONGEST)
    one = device.ask("one", alike=1)
    queued(device, 1)
    other = device.ask("other", alike=1)
    queued(device, 2)
    blocker.leave()
    assert device.began.acquire(timeout=AT_LONGEST)
    one.leave()
    assert isinstance(one.wait().error, GoneError)
    device.may_end.set()
    assert other.wait().result == "OTHER"
    assert device.runs[1:] == [["one", "other"]]


def test_a_run_that_everybody_has_left_ends() -> None:
    device = Device(most=2)
    blocker = device.ask("blocker")
    assert device.began.acquire(timeout=AT_LONGEST)
    both = [device.ask("one", alike=1)]
    queued(device, 1)
    both.append(device.ask("other", alike=1))
    queued(device, 2)
    blocker.leave()
    assert device.began.acquire(timeout=AT_LONGEST)
    for each in both:
        each.leave()
    for each in both:
        assert isinstance(each.wait().error, GoneError)
    device.may_end.set()
    assert device.ask("next").wait().result == "NEXT"


def test_who_is_alone_in_a_run_goes_only_after_it_has_stopped() -> None:
    device = Device(most=2)
    ran_when_left: list[bool] = []
    asked = device.ask("alone")
    assert device.began.acquire(timeout=AT_LONGEST)
    asked.leave()
    asked.wait()
    ran_when_left.append(device.turns._busy and not device.turns._waiting)
    assert isinstance(asked.error, GoneError)


def test_who_leaves_before_his_turn_is_never_run() -> None:
    device = Device(most=1)
    first = device.ask("first")
    assert device.began.acquire(timeout=AT_LONGEST)
    second = device.ask("second")
    queued(device, 1)
    second.leave()
    assert isinstance(second.wait().error, GoneError)
    device.may_end.set()
    assert first.wait().result == "FIRST"
    assert device.runs == [["first"]]


def test_an_error_is_raised_for_everybody_in_the_run_and_the_next_goes_on() -> None:
    device = Device(most=2)
    blocker = device.ask("blocker")
    assert device.began.acquire(timeout=AT_LONGEST)
    bad = device.ask("bad", alike=1)
    queued(device, 1)
    good = device.ask("good", alike=1)
    queued(device, 2)
    device.may_end.set()
    blocker.wait()
    assert isinstance(bad.wait().error, ValueError)
    assert isinstance(good.wait().error, ValueError)
    assert device.ask("next").wait().result == "NEXT"


@pytest.mark.parametrize("count", [1, 20])
def test_many_threads_get_what_is_theirs(count: int) -> None:
    device = Device(most=4, open_from_the_start=True)
    asked = [device.ask(f"word {number}", alike=number % 3) for number in range(count)]
    assert [each.wait().result for each in asked] == [f"WORD {number}" for number in range(count)]
    assert all(len(run) <= 4 for run in device.runs)


def test_something_else_is_done_when_its_turn_comes_and_before_what_came_later() -> None:
    device = Device(most=1)
    done: list[str] = []
    first = device.ask("first")
    device.began.acquire()
    errand = threading.Thread(target=lambda: done.append(device.turns.call(lambda: "errand")))
    errand.start()
    until_waiting(device, 1)
    last = device.ask("last")
    until_waiting(device, 2)
    assert done == []
    device.may_end.set()
    errand.join(AT_LONGEST)
    assert done == ["errand"]
    assert (first.wait().result, last.wait().result) == ("FIRST", "LAST")
    assert device.runs == [["first"], ["last"]]


def test_something_else_that_waits_can_be_given_up_and_what_it_raises_is_raised() -> None:
    device = Device(most=1)
    asked = device.ask("first")
    device.began.acquire()

    def gone() -> None:
        raise GoneError

    done: list[str] = []
    with pytest.raises(GoneError):
        device.turns.call(lambda: done.append("errand"), check=gone)
    device.may_end.set()
    assert asked.wait().result == "FIRST"
    with pytest.raises(ValueError, match="bad"):
        device.turns.call(lambda: int("bad"))
    assert done == []


def until_waiting(device: Device, count: int) -> None:
    with device.turns._changed:
        assert device.turns._changed.wait_for(lambda: len(device.turns._waiting) >= count, timeout=AT_LONGEST)
