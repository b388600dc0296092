from __future__ import annotations

from pathlib import Path

import pytest

from cinelet.config import Config
from cinelet.domain.errors import ValidationError
from cinelet.domain.model import ModelReference
from cinelet.resilience import Price, PriceTable

EXAMPLE = Path(__file__).parents[2] / "docs" / "prices.toml"

TABLE = PriceTable.parse(
    """
    currency = "EUR"
    [models."hf:org/name:fal-ai"]
    per_video = 1
    [models."org/name"]
    per_video = 2
    [models."local:org/name"]
    per_video = 3
    [models."https://endpoint.example/path?key=secret"]
    per_video = 4
    [providers.fal-ai]
    per_video = 5
    [providers."gpu.example:8000"]
    per_video = 6
    [providers.huggingface]
    per_video = 7
    [local]
    per_video = 8
    [models."plugin:anything"]
    per_video = 9
    """
)


def cost(model: str, *, table: PriceTable = TABLE) -> float | None:
    return table.cost(ModelReference.parse(model), video_seconds=2, seconds=10)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("hf:org/name:fal-ai", 1),
        ("hf:org/name:replicate", 2),
        ("hf:org/name", 2),
        ("org/name", 2),
        ("local:org/name", 3),
        ("https://endpoint.example/path", 4),
        ("https://endpoint.example/path?key=another", 4),
        ("hf:org/other:fal-ai", 5),
        ("openai:wan@http://gpu.example:8000/v1", 6),
        ("hf:org/other", 7),
        ("local:org/other", 8),
        ("local:./folder", 8),
        ("embedded", 8),
        ("plugin:anything", 9),
    ],
)
def test_the_most_specific_price_counts_alone(model: str, expected: float) -> None:
    assert cost(model) == expected


@pytest.mark.parametrize("model", ["hf:org/other:replicate", "org/other", "https://other.example/", "plugin:other"])
def test_a_model_without_a_price_has_an_unknown_cost_and_not_none_at_all(model: str) -> None:
    assert cost(model) is None


def test_without_a_table_every_cost_is_unknown() -> None:
    assert cost("embedded", table=PriceTable()) is None
    assert cost("embedded", table=PriceTable.parse("")) is None
    assert PriceTable.parse("").currency == "USD"


def test_the_parts_of_a_price_add_up() -> None:
    price = Price(per_video=0.1, per_video_second=0.2, per_compute_second=0.003)
    assert price.cost(video_seconds=2.5, seconds=7) == pytest.approx(0.1 + 0.5 + 0.021, abs=1e-9)


def test_what_costs_nothing_is_known_to_cost_nothing() -> None:
    assert cost("embedded", table=PriceTable.parse("[models.embedded]\nper_video = 0")) == 0


def test_amounts_have_six_digits_so_that_sums_of_them_are_exact() -> None:
    assert Price(per_compute_second=0.0000017).cost(video_seconds=0, seconds=1) == 0.000002


def test_the_example_can_be_read_and_has_every_unit_and_kind_of_entry() -> None:
    table = PriceTable.read(EXAMPLE)
    prices = [*table.models.values(), *table.providers.values(), table.local]
    for unit in ("per_video", "per_video_second", "per_compute_second"):
        assert any(getattr(price, unit) for price in prices)
    assert cost("hf:example-org/example-video:fal-ai", table=table) == 0.1
    assert cost("hf:example-org/example-video:together", table=table) == 0.14
    assert cost("embedded", table=table) == 0
    assert cost("local:org/name", table=table) == 0.001
    assert "EVERY FIGURE BELOW IS AN EXAMPLE" in EXAMPLE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[local]\nper_vidoe = 0.5", ["local.per_vidoe = 0.5", "did you mean per_video?", "per_compute_second"]),
        ("[local]\nper_hour = 0.5", ["local.per_hour = 0.5", "allowed are per_video, per_video_second and"]),
        ("[provider.fal-ai]\nper_video = 1", ["provider = {", "did you mean providers?"]),
        ("[local]\nper_video = -0.5", ["local.per_video = -0.5", "a number from 0 to 1,000,000"]),
        ("[local]\nper_video = 2000000", ["local.per_video = 2000000", "a number from 0 to 1,000,000"]),
        ("[local]\nper_video = nan", ["local.per_video = nan", "a number from 0"]),
        ("[local]\nper_video = inf", ["local.per_video = inf", "a number from 0"]),
        ('[local]\nper_video = "0.5"', ["local.per_video = '0.5'", "without quotes"]),
        ("[local]\nper_video = true", ["local.per_video = True", "a number from 0"]),
        ("[local]", ["local = {}", "it needs per_video, per_video_second or per_compute_second"]),
        ("local = 0.5", ["local = 0.5", "a price is a table of"]),
        ("models = 1", ["models = 1", 'written [models."..."]']),
        ('currency = "dollars"', ["currency = 'dollars'", "three capitals"]),
        ('currency = "usd"', ["currency = 'usd'", "three capitals"]),
        ("currency = 5", ["currency = 5", "three capitals"]),
        ('currency = "USD"\ncurrency = "EUR"', ["is not TOML", "Cannot overwrite a value"]),
        (
            '[local]\nper_video = 1\ncurrency = "EUR"',
            ["local.currency = 'EUR'", "one currency, which stands at its top"],
        ),
        ('[models."org/a b"]\nper_video = 1', ['models."org/a b"', "is not a model reference"]),
        ('[models."org/a"]\nper_video = 1\n[models."hf:org/a"]\nper_video = 2', ["hf:org/a has a price already"]),
        ("[providers.fal_ai]\nper_video = 1", ["providers.fal_ai", "did you mean fal-ai?"]),
        ('[providers."https://x.example"]\nper_video = 1', ["a provider is a name such as fal-ai, or the host"]),
        ("[providers.gpu.example.org]\nper_video = 1", ["providers.gpu.example = {", "written in quotes"]),
        ("[models.hf:org/a]\nper_video = 1", ["is not TOML", "line 1", "need quotes"]),
        ("[local]\nper_video = 0,5", ["is not TOML", "line 2"]),
        ("[local]\nper_video = 1\n" + "a = " + "[" * 5000, ["is not TOML"]),
        ("[local]\nper_video = " + "9" * 500, ["a number from 0"]),
        ("[models]\n" + '"' + "x" * 400 + '" = 1', ["is not a model reference"]),
    ],
)
def test_a_mistake_is_one_line_with_the_file_the_key_and_what_is_allowed(text: str, named: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        PriceTable.parse(text, name="our-prices.toml")
    message = str(refused.value)
    assert "our-prices.toml" in message
    assert message.isprintable()
    assert len(message) < 500
    for part in named:
        assert part in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "missing.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ValidationError, match=why) as refused:
            PriceTable.read(path)
        assert str(path) in str(refused.value)
    (tmp_path / "latin.toml").write_bytes(b'currency = "\xe9"')
    with pytest.raises(ValidationError, match="not UTF-8"):
        PriceTable.read(tmp_path / "latin.toml")


def test_the_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config().price_table() == PriceTable()
    (tmp_path / "prices.toml").write_text("[local]\nper_video = 1")
    monkeypatch.setenv("CINELET_PRICES", str(tmp_path / "prices.toml"))
    assert Config().price_table() == PriceTable(local=Price(per_video=1))


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text('currency = "CHF"\n', encoding="utf-8-sig")
    assert PriceTable.read(tmp_path / "prices.toml").currency == "CHF"
