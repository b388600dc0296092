"""The section `listing` of `jobs.py`: a ledger with very many generations, and the pages that are asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from benchmarks.jobs_place import Scale, config, percentile

if TYPE_CHECKING:
    from benchmarks.report import Row
    from cinelet.jobs.database import Database
    from cinelet.jobs.generation import Position

ALLOWED_SECONDS = 0.02
PAGE = 50
DAYS = 100
OWNERS = 100
MODELS = 8
RANDOM = SystemRandom()

FILL = """
INSERT INTO generations (
    id, owner, state, request, requested_model, model, progress, stage, worker, attempt, attempts, result, error,
    request_hash, created_at, started_at, finished_at
)
SELECT
    'gen_' || left(translate(md5(number::text), '0189', 'ghij'), 26),
    'owner-' || floor(%(owners)s * random() ^ 2),
    state,
    json_build_object('task', 'text-to-video', 'prompt', repeat('a red circle moving left ', 8), 'model', model),
    model,
    CASE state WHEN 'completed' THEN model END,
    CASE state WHEN 'completed' THEN 1 WHEN 'queued' THEN 0 ELSE 0.5 END,
    'denoising',
    CASE state WHEN 'in_progress' THEN 'host:1:abcd' END,
    1,
    json_build_array(json_build_object('model', model, 'seconds', 41.2, 'provider', 'fal-ai')),
    CASE state WHEN 'completed' THEN json_build_object(
        'blob', 'blobs/00/11/' || repeat(md5(number::text), 2) || '.mp4', 'video_size', 1234567, 'duration', 6,
        'fps', 8, 'resolution', '1024x576', 'sha256', repeat(md5(number::text), 2), 'asked', repeat('x', 400)
    ) END,
    CASE state WHEN 'failed' THEN json_build_object('code', 'huggingface_error', 'message', repeat('y', 100)) END,
    sha256(number::text::bytea),
    created_at,
    CASE WHEN state <> 'queued' THEN created_at + interval '1 second' END,
    CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN created_at + interval '42 seconds' END
FROM (
    SELECT
        number,
        now() - (%(count)s - number) * (make_interval(days => %(days)s) / %(count)s) AS created_at,
        'hf:org/model-' || floor(%(models)s * random() ^ 3) AS model,
        CASE
            WHEN number > %(count)s - 1000 THEN 'queued'
            WHEN number > %(count)s - 1100 THEN 'in_progress'
            WHEN random() < 0.9 THEN 'completed'
            WHEN random() < 0.7 THEN 'failed'
            ELSE 'cancelled'
        END AS state
    FROM generate_series(1, %(count)s) AS number
    OFFSET 0  -- the random values are drawn once a row
) AS drawn
"""


async def listed(folder: Path, *, scale: Scale) -> list[Row]:
    """Fill a ledger and ask for its pages."""
    from cinelet.assembly import open_database
    from cinelet.jobs.ledger import JobLedger

    async with await open_database(config(folder)) as database:
        await _fill(database, scale.generations)
        ledger = JobLedger(database)
        rows = []
        for name, chosen in (await _filters(database, scale.generations)).items():
            seconds, shown = [], []
            for _ in range(scale.pages):
                values = chosen()
                began = time.perf_counter()
                page = await ledger.list(limit=PAGE, **values)
                seconds.append(time.perf_counter() - began)
                shown.append(len(page.generations))
            p99 = percentile(seconds, 0.99)
            rows.append(
                {
                    "page": name,
                    "generations": scale.generations,
                    "shown": sum(shown) / len(shown),
                    "p50 ms": 1000 * percentile(seconds, 0.5),
                    "p99 ms": 1000 * p99,
                    "max ms": 1000 * max(seconds),
                    "within": p99 <= ALLOWED_SECONDS,
                }
            )
        return rows


async def _fill(database: Database, count: int) -> None:
    """Insert so many generations; neither jobs nor events are made of them."""
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE generations DISABLE TRIGGER USER")
        values = {"count": count, "owners": OWNERS, "models": MODELS, "days": DAYS}
        await connection.execute(FILL.encode(), values)
        await connection.execute("ALTER TABLE generations ENABLE TRIGGER USER")
        await connection.execute("VACUUM ANALYZE generations")
        await connection.execute("CHECKPOINT")


async def _filters(database: Database, count: int) -> Mapping[str, Callable[[], dict[str, Any]]]:
    """Return what draws the arguments of each kind of page."""
    from cinelet.jobs.states import State

    now = datetime.now(UTC)
    early, late = [await _place(database, skipped) for skipped in (10_000, count * 9 // 10)]

    def owner() -> str:
        return f"owner-{RANDOM.randrange(OWNERS)}"

    def model() -> str:
        return f"hf:org/model-{RANDOM.randrange(MODELS)}"

    def state() -> State:
        return RANDOM.choice(list(State))

    def some_day() -> datetime:
        return now - timedelta(days=RANDOM.uniform(1, DAYS))

    def day() -> dict[str, Any]:
        first = some_day()
        return {"created_from": first, "created_before": first + timedelta(days=1)}

    return {
        "all": dict,
        "by state": lambda: {"state": state()},
        "by model": lambda: {"model": model()},
        "by owner": lambda: {"owner": owner()},
        "by time (a day)": day,
        "after 10,000": lambda: {"after": early},
        "after 90 % of all": lambda: {"after": late},
        "by owner and state": lambda: {"owner": owner(), "state": state()},
        "by state and model": lambda: {"state": state(), "model": model()},
        "by owner and model": lambda: {"owner": owner(), "model": model()},
        "by owner, before a day": lambda: {"owner": owner(), "created_before": some_day()},
        "by a model that nobody asked for": lambda: {"model": "hf:org/none", "state": State.COMPLETED},
    }


async def _place(database: Database, skipped: int) -> Position:
    """Return the position behind so many of the newest."""
    from cinelet.jobs.generation import Position

    async with database.connection() as connection:
        found = await connection.execute(
            "SELECT created_at, id FROM generations ORDER BY created_at DESC, id DESC OFFSET %s LIMIT 1", [skipped]
        )
        row = await found.fetchone()
    assert row is not None  # noqa: S101  (there are more)
    return Position(*row)
