"""Small pictures of what is being made: the latest of each generation, for as long as it is being made.

They lie in a table of their own, which a crash empties and no backup holds, and never in an announcement: that may have
8000 bytes, and goes to every process. It counts them.
"""

from __future__ import annotations

from cinelet.jobs.database import Database
from cinelet.jobs.generation import is_id

COUNT = ", previews = previews + 1"
"""What an UPDATE of a generation sets as well where there is a new picture."""
KEEP = (
    ", kept AS (INSERT INTO generation_previews (generation_id, picture) SELECT id, %(picture)s FROM noted"
    " ON CONFLICT (generation_id) DO UPDATE SET picture = EXCLUDED.picture)"
)
"""What keeps the picture with it, if the claim still holds."""


async def find_glimpse(database: Database, generation_id: str) -> bytes | None:
    """Return the latest picture, a WebP file; None where there is none, or none any more."""
    if not is_id(generation_id):
        return None
    async with database.connection() as connection:
        found = await connection.execute(
            "SELECT picture FROM generation_previews WHERE generation_id = %s", [generation_id]
        )
        row = await found.fetchone()
    return None if row is None else bytes(row[0])
