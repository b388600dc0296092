"""Two minutes of everything at once, with faults: nothing is lost, nothing grows. `benchmarks/soak.py` does more."""

from __future__ import annotations

from benchmarks.soak import Scale, soak

STILL_WARM_MB = 100
"""Two minutes are not enough for a process with PyTorch to come to its size; a leak of a megabyte a second is found."""


def test_mixed_traffic_with_faults_loses_nothing_and_leaves_nothing_behind() -> None:
    tables = soak(Scale(minutes=2, people=5))
    assert [row for row in tables["lost"] if not row["within"]] == [], tables["traffic"]
    grown = [row for row in tables["growth"] if not row["within"]]
    assert [
        row for row in grown if row["what"] != "memory MB" or row["at the end"] - row["at first"] > STILL_WARM_MB
    ] == []
    done = {row["what"]: row["count"] for row in tables["traffic"]}
    assert done["generations completed"] > 50
    assert any(what.startswith("harm: ") for what in done), "nothing was done to it, so nothing is shown"
