"""Two minutes of everything at once, with faults: nothing is lost, nothing grows. `benchmarks/soak.py` does more."""

from __future__ import annotations

from benchmarks.soak import Scale, soak


def test_mixed_traffic_with_faults_loses_nothing_and_leaves_nothing_behind() -> None:
    tables = soak(Scale(minutes=2, people=5))
    outside = [row for name in ("lost", "growth") for row in tables[name] if not row["within"]]
    assert not outside, tables["traffic"]
    done = {row["what"]: row["count"] for row in tables["traffic"]}
    assert done["generations completed"] > 50
    assert any(what.startswith("harm: ") for what in done), "nothing was done to it, so nothing is shown"
