from __future__ import annotations

import gc

import pytest

from cinelet.garbage import YOUNG_OBJECTS, collect_rarely, keep_what_is_loaded


@pytest.fixture(autouse=True)
def _as_before():
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_young_objects_are_looked_through_rarely_and_old_ones_as_before():
    before = gc.get_threshold()
    collect_rarely()
    assert gc.get_threshold() == (YOUNG_OBJECTS, *before[1:])


def test_what_is_loaded_is_looked_through_no_more():
    keep_what_is_loaded()
    assert gc.get_freeze_count() > 1000
