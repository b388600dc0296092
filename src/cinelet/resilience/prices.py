"""What videos cost, by a table that the operator writes: nobody publishes prices that a program could rely on.

`docs/prices.toml` is an example that explains the format.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cinelet.domain.errors import ValidationError
from cinelet.domain.model import ModelReference
from cinelet.domain.money import DECIMALS, DEFAULT_CURRENCY
from cinelet.resilience.hosts import circuit_of, host_of

MAX_PRICE = 1_000_000
_MAX_SHOWN_CHARACTERS = 60
_CURRENCY = re.compile(r"[A-Z]{3}")
_PROVIDER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_ADDRESS = re.compile(r"(?:[a-z0-9-]+\.)*[a-z0-9-]+(?::\d{1,5})?|\[[0-9a-f:.]+\](?::\d{1,5})?")
_LOCAL_SCHEMES = frozenset({"local", "embedded"})


@dataclass(frozen=True, slots=True)
class Price:
    """What a video costs; the parts add up. compute seconds: those that the stages of making it took."""

    per_video: float = 0.0
    per_video_second: float = 0.0
    per_compute_second: float = 0.0

    def cost(self, *, video_seconds: float, seconds: float) -> float:
        """Return what a video costs."""
        amount = self.per_video + self.per_video_second * video_seconds + self.per_compute_second * seconds
        return round(amount, DECIMALS)

    def failed(self, *, seconds: float) -> float:
        """Return what it costs to have tried for so long in vain, where nobody sends a bill."""
        return round(self.per_compute_second * seconds, DECIMALS)


_UNITS = tuple(unit.name for unit in fields(Price))


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices in one currency. models: by reference, `hf:org/name` for all providers of it; providers: as `host_of`.

    An empty one knows no price, so every cost is unknown.
    """

    currency: str = DEFAULT_CURRENCY
    models: Mapping[str, Price] = field(default_factory=dict)
    providers: Mapping[str, Price] = field(default_factory=dict)
    local: Price | None = None

    @classmethod
    def read(cls, path: Path) -> PriceTable:
        """Read a file. Raises `ValidationError`, one line that names the file, the key and its value."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
            message = f"The price table {path} cannot be read: {why}; correct CINELET_PRICES or remove it"
            raise ValidationError(message, {"CINELET_PRICES": "Cannot be read"}) from error
        return cls.parse(text, name=str(path))

    @classmethod
    def parse(cls, text: str, *, name: str = "prices.toml") -> PriceTable:
        """Read the text of a table. name: of the file, for errors. Raises as `read` does."""
        try:
            content = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            why = f"{name} is not TOML: {error}; names with other characters than A-Z, a-z, 0-9, _ and - need quotes"
            raise ValidationError(why, {"CINELET_PRICES": "Not TOML"}) from error
        return _Reader(name).table(content)

    def price(self, model: ModelReference) -> Price | None:
        """Return the price of a model as it ran: its own, else its name's at any provider, its provider's, or local.

        A plain Hub id has the price of its name: who runs it is not said.
        """
        exact = self.models.get(_name(model))
        if exact is not None:
            return exact
        if model.scheme in _LOCAL_SCHEMES:
            return self.local
        if model.scheme in {"hf", "hub"} and (found := self.models.get(f"hf:{model.name}")) is not None:
            return found
        host = host_of(model)
        return None if host is None else self.providers.get(host)

    def cost(self, model: ModelReference, *, video_seconds: float, seconds: float) -> float | None:
        """Return what a video costs, or None where the table does not say: that is not the same as nothing.

        video_seconds: how long it is; seconds: that its making took.
        """
        price = self.price(model)
        return None if price is None else price.cost(video_seconds=video_seconds, seconds=seconds)


def _name(model: ModelReference) -> str:
    """Return what a reference is called in a table, without the query of an address: that may hold a key."""
    return circuit_of(model) or str(model)


class _Reader:
    """Turns the content of a file into a table. file: its name."""

    def __init__(self, file: str) -> None:
        self._file = file

    def table(self, content: Mapping[str, Any]) -> PriceTable:
        """Return the table, or raise at the first thing that is wrong."""
        self._known(content, ("currency", "models", "providers", "local"), place="", what="section")
        currency = content.get("currency", DEFAULT_CURRENCY)
        if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
            raise self._refused("currency", currency, 'a currency is its code of three capitals, such as "USD"')
        models: dict[str, Price] = {}
        for key, value in self._section(content, "models").items():
            place = f"models.{_quoted(key)}"
            name = self._model(key, place)
            if name in models:
                raise self._refused(place, value, f"{name} has a price already; keep one of the two")
            models[name] = self._price(value, place)
        providers = {
            self._provider(key): self._price(value, f"providers.{_quoted(key)}")
            for key, value in self._section(content, "providers").items()
        }
        local = self._price(content["local"], "local") if "local" in content else None
        return PriceTable(currency, models, providers, local)

    def _section(self, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        section = content.get(name, {})
        if not isinstance(section, dict):
            raise self._refused(name, section, f'a section is written [{name}."..."], with prices below it')
        return section

    def _model(self, key: str, place: str) -> str:
        try:
            model = ModelReference.parse(key)
        except ValidationError as error:
            raise ValidationError(f"{self._file}: {place}: {error.message}", {place: "No model reference"}) from error
        return f"hf:{model.name}" if model.scheme == "hub" else _name(model)

    def _provider(self, key: str) -> str:
        if _PROVIDER.fullmatch(key) or _ADDRESS.fullmatch(key):
            return key
        allowed = "a provider is a name such as fal-ai, or the host of an address such as gpu.example.org:8000"
        near = key.lower().replace("_", "-")
        hint = f"; did you mean {near}?" if _PROVIDER.fullmatch(near) else ""
        raise ValidationError(f"{self._file}: providers.{_quoted(key)}: {allowed}{hint}", {"providers": "No provider"})

    def _price(self, value: object, place: str) -> Price:
        if not isinstance(value, dict):
            raise self._refused(place, value, f"a price is a table of {_listed(_UNITS, 'or')}")
        self._known(value, _UNITS, place=f"{place}.", what="unit")
        if not value:
            raise self._refused(place, value, f"it needs {_listed(_UNITS, 'or')}; what costs nothing has per_video = 0")
        return Price(**{unit: self._amount(amount, f"{place}.{unit}") for unit, amount in value.items()})

    def _amount(self, value: object, place: str) -> float:
        # TOML writes true and nan, which Python takes for numbers.
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        if not 0 <= number <= MAX_PRICE:
            raise self._refused(place, value, f"a price is a number from 0 to {MAX_PRICE:,}, without quotes")
        return float(number)

    def _known(self, given: Mapping[str, Any], allowed: tuple[str, ...], *, place: str, what: str) -> None:
        """Refuse the first key that is none of the allowed ones."""
        for key, value in given.items():
            if key in allowed:
                continue
            near = difflib.get_close_matches(key.lower(), allowed, n=1)
            if key == "currency":
                why = "a table has one currency, which stands at its top"
            elif isinstance(value, dict) and place:
                why = "a name with dots in it is written in quotes"
            else:
                hint = f", did you mean {near[0]}? Allowed" if near else "; allowed"
                why = f"there is no such {what}{hint} are {_listed(allowed, 'and')}"
            raise self._refused(f"{place}{_quoted(key)}", value, why)

    def _refused(self, place: str, value: object, why: str) -> ValidationError:
        shown = repr(value)
        if len(shown) > _MAX_SHOWN_CHARACTERS:
            shown = f"{shown[: _MAX_SHOWN_CHARACTERS - 3]}..."
        return ValidationError(f"{self._file}: {place} = {shown} cannot be used: {why}", {place: why})


def _quoted(key: str) -> str:
    """Return a key as TOML writes it."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key) else f'"{key!r:.82}"'.replace("'", "")


def _listed(names: Iterable[str], word: str) -> str:
    *first, last = names
    return f"{', '.join(first)} {word} {last}"
