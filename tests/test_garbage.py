from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from cinelet.garbage import (
    YOUNG_OBJECTS,
    collect_rarely,
    keep_what_is_loaded,
    old_objects_left_alone,
)


@pytest.fixture(autouse=True)
def _as_before():
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.enable()


def test_young_objects_are_looked_through_rarely_and_old_ones_as_before():
    before = gc.get_threshold()
    collect_rarely()
    assert gc.get_threshold() == (YOUNG_OBJECTS, *before[1:])


def test_what_is_loaded_is_looked_through_no_more():
    keep_what_is_loaded()
    assert gc.get_freeze_count() > 1000


def test_blocks_of_two_threads_end_in_any_order_and_leave_what_was_asked_for():
    before = gc.get_threshold()
    first, second = old_objects_left_alone(), old_objects_left_alone()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert (gc.get_threshold()[:2], gc.get_threshold()[2] > 10**6) == (before[:2], True)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before


def test_a_failure_inside_leaves_what_was_asked_for():
    before = gc.get_threshold()
    with pytest.raises(ImportError), old_objects_left_alone():
        raise ImportError
    assert gc.get_threshold() == before


def test_a_process_that_ends_looks_through_nothing_and_runs_its_exit_handlers():
    program = """
import atexit, gc
from cinelet.garbage import end_without_a_look

class Found:
    def __del__(self):
        print("found")

gc.disable()
circle = Found()
circle.itself = circle
del circle
atexit.register(print, "handled")
{}
"""
    assert ended(program.format("")) == ["handled", "found"]
    assert ended(program.format("end_without_a_look()")) == ["handled"]


def ended(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
