"""The legal moves: one table in Python and in the database, and no way around it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule, run_state_machine_as_test

from cinelet.domain.progress import Progress, Stage
from cinelet.jobs.database import Database
from cinelet.jobs.errors import ClaimLostError
from cinelet.jobs.generation import Generation
from cinelet.jobs.ledger import UNFINISHED_PROGRESS, JobLedger
from cinelet.jobs.states import MOVES, State


def test_three_states_are_final():
    assert {state for state in State if state.final} == {State.COMPLETED, State.FAILED, State.CANCELLED}
    assert State.QUEUED.may_become(State.CANCELLED)
    assert not State.COMPLETED.may_become(State.FAILED)


def test_the_database_refuses_every_other_move(with_ledger):
    set_state = """
        UPDATE generations SET state = %(state)s,
            progress = CASE WHEN %(state)s = 'completed' THEN 1 ELSE 0 END,
            result = CASE WHEN %(state)s = 'completed' THEN '{}'::json END,
            error = CASE WHEN %(state)s = 'failed' THEN '{}'::json END,
            worker = CASE WHEN %(state)s = 'in_progress' THEN 'w' END,
            finished_at = CASE WHEN %(state)s IN ('completed', 'failed', 'cancelled') THEN now() END
        WHERE id = %(id)s"""
    ways = {
        State.QUEUED: [],
        State.IN_PROGRESS: [State.IN_PROGRESS],
        State.COMPLETED: [State.IN_PROGRESS, State.COMPLETED],
        State.FAILED: [State.IN_PROGRESS, State.FAILED],
        State.CANCELLED: [State.CANCELLED],
    }

    async def work(ledger, database):
        allowed = set()
        async with database.connection() as connection:
            for before, after in itertools.permutations(State, 2):
                generation_id = (await ledger.insert({}, owner="", requested_model="m")).generation.id
                for state in ways[before]:
                    await connection.execute(set_state, {"state": state.value, "id": generation_id})
                try:
                    await connection.execute(set_state, {"state": after.value, "id": generation_id})
                    allowed.add((before, after))
                except psycopg.errors.CheckViolation:
                    pass
        return allowed

    assert with_ledger(work) == {(before, after) for before in State for after in MOVES[before]}


def test_a_generation_cannot_begin_as_anything_but_queued(with_ledger):
    async def work(_, database):
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO generations (id, owner, state, request, requested_model, request_hash, finished_at)"
                " VALUES ('gen_x', '', 'cancelled', '{}', 'm', '', now())"
            )

    with pytest.raises(psycopg.errors.CheckViolation, match="cannot become cancelled"):
        with_ledger(work)


@pytest.fixture
def machine(data_directory, schema):
    """Return a state machine on a real ledger, in an event loop that all its examples share."""
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(None, data_directory=data_directory, schema=schema))

        class Machine(LedgerMachine):
            def __init__(self):
                super().__init__(JobLedger(database), runner)

        yield Machine
        runner.run(database.aclose())


def test_no_order_of_calls_leaves_the_table_of_moves(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


class LedgerMachine(RuleBasedStateMachine):
    """Workers, some of which have lost their claim, and a user do things in any order; the model says what must be."""

    generations = Bundle("generations")
    claims = Bundle("claims")

    def __init__(self, ledger: JobLedger, runner: asyncio.Runner) -> None:
        super().__init__()
        self.ledger = ledger
        self.runner = runner
        self.known: dict[str, Generation] = {}

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def check(self, after: Generation, *, to: State) -> None:
        before = self.known[after.id]
        assert after.state is to
        assert after.state is before.state or before.state.may_become(after.state)
        assert after.progress >= before.progress
        assert after.attempt >= before.attempt
        self.known[after.id] = after

    def write(self, claim: tuple[str, int], work: Any, *, to: State) -> None:
        """Do a worker's write: it takes effect where the claim is the latest one of a running generation."""
        generation_id, attempt = claim
        now = self.known[generation_id]
        if now.state is State.IN_PROGRESS and now.attempt == attempt:
            self.run(work)
            self.check(self.run(self.ledger.get(generation_id)), to=to)
        else:
            with pytest.raises(ClaimLostError):
                self.run(work)

    @rule(target=generations)
    def insert(self):
        generation = self.run(self.ledger.insert({"prompt": "p"}, owner="o", requested_model="m")).generation
        assert generation.state is State.QUEUED
        self.known[generation.id] = generation
        return generation.id

    @rule(target=claims, generation_id=generations, lost_attempt=st.none() | st.integers(0, 3))
    def claim(self, generation_id, lost_attempt):
        before = self.known[generation_id]
        claimed = self.run(self.ledger.claim(generation_id, worker="w", lost_attempt=lost_attempt))
        lost = before.state is State.IN_PROGRESS and before.attempt == lost_attempt
        possible = before.state is State.QUEUED or lost
        assert (claimed is not None) == possible
        if claimed is not None:
            assert claimed.attempt == before.attempt + 1
            elsewhere = before.handle is not None and before.stage in {None, "denoising"}
            assert claimed.crashes == before.crashes + (before.state is State.IN_PROGRESS and not elsewhere)
            self.check(claimed, to=State.IN_PROGRESS)
        return generation_id, self.known[generation_id].attempt

    @rule(claim=claims, fraction=st.floats(0, 1))
    def progress(self, claim, fraction):
        report = Progress(Stage.DENOISING, fraction, step=1, steps=2)
        self.write(claim, self.ledger.progress(claim[0], claim[1], report), to=State.IN_PROGRESS)
        assert self.known[claim[0]].progress <= UNFINISHED_PROGRESS or self.known[claim[0]].state is State.COMPLETED

    @rule(claim=claims, handle=st.sampled_from([None, {"model": "m"}]))
    def save_handle(self, claim, handle):
        self.write(claim, self.ledger.save_handle(claim[0], claim[1], handle), to=State.IN_PROGRESS)

    @rule(claim=claims)
    def complete(self, claim):
        self.write(claim, self.ledger.complete(*claim, model="m", result={}), to=State.COMPLETED)

    @rule(claim=claims)
    def fail(self, claim):
        self.write(claim, self.ledger.fail(*claim, error={"code": "x"}), to=State.FAILED)

    @rule(claim=claims)
    def cancel(self, claim):
        self.write(claim, self.ledger.cancel(*claim), to=State.CANCELLED)

    @rule(claim=claims)
    def release(self, claim):
        now = self.known[claim[0]]
        ends = now.cancel_requested and now.handle is None
        self.write(claim, self.ledger.release(*claim), to=State.CANCELLED if ends else State.QUEUED)

    @rule(generation_id=generations)
    def request_cancel(self, generation_id):
        before = self.known[generation_id]
        at_once = before.state is State.QUEUED and before.handle is None
        after = self.run(self.ledger.request_cancel(generation_id))
        self.check(after, to=State.CANCELLED if at_once else before.state)
        assert after.cancel_requested or before.state.final

    @rule(generation_id=consumes(generations))
    def forget(self, generation_id):
        """Stop doing things to a generation; it must stay as it is."""
        assert generation_id in self.known

    def teardown(self):
        """Compare everything with the database: no call has changed another generation."""
        for generation_id, known in self.known.items():
            assert self.run(self.ledger.get(generation_id)) == known
