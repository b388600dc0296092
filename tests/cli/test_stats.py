"""`cinelet stats`: how models did lately, for a person and for a program."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cinelet.jobs.database import Database
from tests.cli.conftest import Command


@pytest.fixture
def outcomes(tmp_path: Path) -> None:
    async def written() -> None:
        async with (
            await Database.open(None, data_directory=tmp_path / "data") as database,
            database.connection() as connection,
        ):
            for model, provider, succeeded, code, times in (
                ("hf:org/name:fal-ai", "fal-ai", True, None, 3),
                ("hf:org/name:fal-ai", "fal-ai", False, "rate_limited", 1),
                ("local:org/name", None, True, None, 1),
            ):
                await connection.execute(
                    "INSERT INTO outcomes (generation_id, owner, requested_model, model, provider, task, succeeded,"
                    " code, seconds, queue_seconds, video_seconds, cost, currency)"
                    " SELECT 'g', 'ann', 'm', %s, %s, 'text-to-video', %s, %s, 10, 2, 5, %s, 'EUR'"
                    " FROM generate_series(1, %s)",
                    [model, provider, succeeded, code, 0.25 if provider else None, times],
                )

    asyncio.run(written())


@pytest.fixture
def prices(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "prices.toml").write_text("currency = 'EUR'")
    monkeypatch.setenv("CINELET_PRICES", "prices.toml")


@pytest.mark.usefixtures("outcomes", "prices")
def test_a_table_tells_how_each_model_did(cinelet: Command) -> None:
    done = cinelet("stats")
    assert done.code == 0
    fal = next(line.split() for line in done.out.splitlines() if line.startswith("hf:org/name:fal-ai "))
    assert fal[1:4] == ["fal-ai", "4", "75.0%"]
    assert fal[-5:] == ["20", "s", "1.00", "EUR"] or fal[-4:] == ["20", "s", "1.00", "EUR"]
    local = next(line.split() for line in done.out.splitlines() if line.startswith("local:org/name "))
    assert local[1:4] == ["local", "1", "100.0%"]
    assert local[-1] == "unknown"
    assert "hf:org/name:fal-ai: 1 rate_limited" in done.out
    assert next(line for line in done.out.splitlines() if line.startswith("All in 24h")).rstrip().endswith("1.00 EUR+")


@pytest.mark.usefixtures("outcomes")
def test_a_program_is_told_the_same_as_by_the_service(cinelet: Command) -> None:
    told = cinelet("stats", "--json", "--window", "7d", "--model", "org/name", "--provider", "local").json
    assert (told["window"], told["total"]["attempts"], told["currency"]) == ("7d", 1, "USD")
    assert [one["model"] for one in told["models"]] == ["local:org/name"]
    assert [(one["task"], one["order"][0]["model"]) for one in told["next"]] == [
        ("text-to-video", "embedded"),
        ("image-to-video", "embedded"),
    ]


def test_where_nothing_was_made_it_says_so(cinelet: Command) -> None:
    done = cinelet("stats", "--window", "1h")
    assert done.code == 0
    assert done.out.splitlines() == [
        "next text-to-video: embedded (ordered: no outcome known)",
        "next image-to-video: embedded (ordered: no outcome known)",
    ]
    assert done.err == "no attempts at a model in 1h; every job that is made here counts (cinelet jobs)\n"


def test_a_wrong_window_is_refused_before_anything_is_opened(cinelet: Command, tmp_path: Path) -> None:
    done = cinelet("stats", "--window", "1y")
    assert (done.code, done.err.startswith("error: '1y' is not a window; write hours or days")) == (2, True)
    assert not (tmp_path / "data").exists()
