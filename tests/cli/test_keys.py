"""`cinelet keys`, and what `cinelet serve` makes of them."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cinelet.domain.errors import ValidationError
from tests.cli.conftest import Command
from tests.jobs.conftest import copy_data, processes_of

__all__ = ["copy_data", "processes_of"]


@pytest.fixture(autouse=True)
def own_database(
    bare: Path, copy_data: Callable[[Path], Path], processes_of: Callable[[Path], list[int]]
) -> Iterator[None]:
    data = copy_data(bare.parent / "data")
    yield
    assert processes_of(data / "database" / "postgres") == [], "the last command stops the server"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return how a service would have been made; it is not."""
    options: list[dict[str, Any]] = []

    def make_app(_config: object, *, workers: object, **given: Any) -> None:  # noqa: ARG001  (whose metrics it shows)
        options.append(given)
        raise ValidationError("That is far enough")

    monkeypatch.setattr("cinelet.api.make_app", make_app)
    return options


def test_a_key_is_shown_once_and_then_only_listed(cinelet: Command) -> None:
    limits = ("--requests-per-minute", "60", "--running", "4", "--video-seconds-per-day", "3600")
    made = cinelet("keys", "create", "site", "--role", "read", "--owner", "shop", *limits)
    secret = made.out.strip()
    assert re.fullmatch(r"cin_[A-Za-z0-9_-]{43}\n", made.out), "the secret alone, for a script"
    assert secret not in made.err
    listed = cinelet("keys", "list")
    (key,) = cinelet("keys", "list", "--json").json
    assert (key["name"], key["owner"], key["role"]) == ("site", "shop", "read")
    assert (key["requests_per_minute"], key["running"], key["video_seconds_per_day"]) == (60, 4, 3600)
    assert listed.out.startswith(key["id"])
    assert "never used, 60 requests/minute, 4 at once, 3600 s of video/day" in listed.out
    assert secret not in listed.out + str(key)
    assert key["id"] in made.err


def test_a_budget_is_in_the_currency_of_the_prices(
    cinelet: Command, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned = cinelet("keys", "create", "early", "--budget-per-day", "5")
    assert "no price is known here (CINELET_PRICES), so whatever this key asks for is refused" in warned.err
    (bare / "prices.toml").write_text('currency = "EUR"\n[local]\nper_video = 0.5')
    monkeypatch.setenv("CINELET_PRICES", "prices.toml")
    assert "CINELET_PRICES" not in cinelet("keys", "create", "site", "--budget-per-day", "2.50").err
    site, early = cinelet("keys", "list", "--json").json
    assert (site["budget_per_day"], site["currency"]) == (2.5, "EUR")
    assert (early["budget_per_day"], early["currency"]) == (5, "USD")
    assert "never used, 2.5 EUR/day" in cinelet("keys", "list").out


def test_a_revoked_key_stays_listed_as_such(cinelet: Command) -> None:
    assert cinelet("keys", "list").err == "no keys\n"
    cinelet("keys", "create", "site")
    (key,) = cinelet("keys", "list", "--json").json
    assert cinelet("keys", "revoke", key["id"]).out == f"{key['id']} (site) is revoked\n"
    assert "revoked 2" in cinelet("keys", "list").out


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (
            ("keys", "create", "x", "--role", "owner"),
            2,
            "There is no role 'owner'; the roles are read, generate, admin",
        ),
        (("keys", "create", ""), 2, "The key cannot be made: name: Must be 1-100 printable characters"),
        (
            ("keys", "create", "x", "--budget-per-day", "0"),
            2,
            "The key cannot be made: budget_per_day: Must be between 0.000001 and 2,147,483,647",
        ),
        (
            ("keys", "create", "x", "--budget-per-day", "nan"),
            2,
            "The key cannot be made: budget_per_day: Must be between",
        ),
        (
            ("keys", "create", "x", "--budget-per-day", "0.0000001"),
            2,
            "The key cannot be made: budget_per_day: Must be between",
        ),
        (("keys", "create", "x", "--running", "0"), 2, "Invalid value for '--running'"),
        (("keys", "revoke", "key_nothing"), 1, "There is no key 'key_nothing'"),
        (("serve", "--host", "0.0.0.0"), 2, "Everybody who reaches 0.0.0.0 could use this service, as there is no key"),
        (("serve", "--host", ""), 2, "Everybody who reaches  could use"),
    ],
)
def test_a_wrong_word_is_one_line(cinelet: Command, words: tuple[str, ...], code: int, why: str) -> None:
    done = cinelet(*words)
    assert done.code == code
    assert " ".join(done.err.split()).startswith(" ".join(f"error: {why}".split()))
    assert done.err.count("\n") == 1


def test_what_keeps_the_service_from_starting_is_one_line(cinelet: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = cinelet("serve", "--port", port)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert done.err.startswith(f"error: 127.0.0.1:{port} cannot be listened on: Address already in use; choose")
        monkeypatch.setenv("DATABASE_URL", f"postgresql://127.0.0.1:{port}/x?connect_timeout=1")
        done = cinelet("serve", "--no-workers", "--port", "0")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("error: The database at 127.0.0.1")


@pytest.mark.parametrize("words", [(), ("--host", "127.0.0.1"), ("--host", "::1"), ("--host", "localhost")])
def test_on_this_machine_the_service_starts_without_a_key(
    cinelet: Command, served: list[dict[str, Any]], words: tuple[str, ...]
) -> None:
    cinelet("serve", "--no-workers", "--port", "0", *words)
    assert served == [{"open_to_all": False}]


def test_elsewhere_it_starts_with_a_key_or_when_told_to_do_without(
    cinelet: Command, served: list[dict[str, Any]]
) -> None:
    elsewhere = ("serve", "--no-workers", "--port", "0", "--host", "0.0.0.0")
    cinelet(*elsewhere, "--no-auth")
    assert served == [{"open_to_all": True}]
    cinelet("keys", "create", "site")
    cinelet(*elsewhere)
    assert served[1:] == [{"open_to_all": False}]
