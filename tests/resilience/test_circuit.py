from __future__ import annotations

import pytest

from cinelet.resilience.circuit import Circuit, CircuitRules, Closed, Event, Open, Probing

NOW = 1000.0
FOUR = (NOW - 4, NOW - 3, NOW - 2, NOW - 1)

TABLE: list[tuple[Circuit, Event, Circuit]] = [
    (Closed(FOUR), Event.ASKED, Closed(FOUR)),
    (Closed(FOUR), Event.NO_VERDICT, Closed(FOUR)),
    (Closed(FOUR), Event.SUCCEEDED, Closed()),
    (Closed(), Event.FAILED, Closed((NOW,))),
    (Closed(FOUR), Event.FAILED, Open(NOW + 30, 30)),
    (Closed((NOW - 30, *FOUR[1:])), Event.FAILED, Closed((*FOUR[1:], NOW))),
    (Open(NOW + 0.1, 30), Event.ASKED, Open(NOW + 0.1, 30)),
    (Open(NOW, 30), Event.ASKED, Probing(30, 0)),
    (Open(NOW, 60, 1), Event.ASKED, Probing(60, 1)),
    (Open(NOW, 30), Event.SUCCEEDED, Open(NOW, 30)),
    (Open(NOW, 30), Event.FAILED, Open(NOW, 30)),
    (Open(NOW, 30), Event.NO_VERDICT, Open(NOW, 30)),
    (Probing(30, 0), Event.ASKED, Probing(30, 0)),
    (Probing(30, 0), Event.SUCCEEDED, Open(NOW, 30, 1)),
    (Probing(30, 1), Event.SUCCEEDED, Closed()),
    (Probing(30, 1), Event.NO_VERDICT, Open(NOW, 30, 1)),
    (Probing(30, 1), Event.FAILED, Open(NOW + 60, 60)),
    (Probing(240, 0), Event.FAILED, Open(NOW + 300, 300)),
]


@pytest.mark.parametrize(("before", "event", "after"), TABLE)
def test_what_follows(before: Circuit, event: Event, after: Circuit) -> None:
    assert CircuitRules().after(before, event, now=NOW) == after


def test_the_table_has_every_state_and_event() -> None:
    assert {(type(before), event) for before, event, _ in TABLE} == {
        (state, event) for state in (Closed, Open, Probing) for event in Event
    }


def test_one_failure_opens_where_one_is_allowed() -> None:
    assert CircuitRules(failures=1, open_seconds=5).after(Closed(), Event.FAILED, now=NOW) == Open(NOW + 5, 5)
