"""The settings of what videos cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_settings import BaseSettings, SettingsConfigDict

from cinelet.config.values import File

if TYPE_CHECKING:
    from cinelet.resilience.prices import PriceTable


class MoneyVariables(BaseSettings):
    """The variables, as a part of `Config`."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    cinelet_prices: File | None = None
    """File with what videos cost, as `docs/prices.toml` shows. Default: every cost is unknown."""

    def price_table(self) -> PriceTable:
        """Read the file as it is now; without one the table knows no price. Raises `ValidationError`."""
        from cinelet.resilience.prices import PriceTable

        return PriceTable() if self.cinelet_prices is None else PriceTable.read(self.cinelet_prices)
