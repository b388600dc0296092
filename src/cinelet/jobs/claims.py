"""The claims that a worker knows to have, and what becomes of those that it does not know of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from cinelet.domain.errors import CineletError
from cinelet.jobs.database import Database
from cinelet.jobs.errors import ClaimLostError
from cinelet.jobs.generation import Generation
from cinelet.jobs.ledger import JobLedger
from cinelet.observability.logs import get_logger

CLAIMS_OF = (
    "coalesce((SELECT json_agg(json_build_array(id, attempt, cancel_requested)) FROM generations"
    " WHERE state = 'in_progress' AND worker = %s), '[]')"
)
"""What the ledger has as a worker's: generation, attempt, and whether somebody asked to stop it."""
_logger = get_logger(__name__)


class Claims:
    """Gives back what the ledger has as this worker's while the worker never heard of it.

    A connection may break between a claim and the reply that would have told of it.
    """

    def __init__(self, ledger: JobLedger) -> None:
        self._ledger = ledger
        self._held: set[tuple[str, int]] = set()
        self._unheld: set[tuple[str, int]] = set()

    @contextmanager
    def held(self, generation: Generation) -> Iterator[None]:
        """Note that a claim is known, as long as this is entered."""
        claim = generation.id, generation.attempt
        self._held.add(claim)
        try:
            yield
        finally:
            self._held.discard(claim)

    async def look(self, known: Sequence[tuple[str, int, bool]]) -> None:
        """Compare with what the ledger has, as `CLAIMS_OF`; give back what was not known at the last look either."""
        unheld = {(generation_id, attempt) for generation_id, attempt, _ in known} - self._held
        for claim in unheld & self._unheld:
            await self.give_back(*claim)
        self._unheld = unheld

    async def give_back_unknown(self, database: Database, *, worker: str) -> None:
        """Give back what is not known now, when no reply is on its way any more; a database that is away forgets."""
        with suppress(CineletError):
            async with database.connection() as connection:
                found = await connection.execute(f"SELECT {CLAIMS_OF}".encode(), [worker])
                (known,) = await found.fetchone() or ([],)
            for generation_id, attempt, _ in known:
                if (generation_id, attempt) not in self._held:
                    await self.give_back(generation_id, attempt)

    async def give_back(self, generation_id: str, attempt: int) -> None:
        """Give a generation back to the queue. That its worker was lost over it is not counted, for it was not."""
        try:
            await self._ledger.release(generation_id, attempt)
        except ClaimLostError:
            return
        _logger.info("A claim that was not worked on is given back", extra={"generation": generation_id})
