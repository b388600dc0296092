"""What a request will cost at most, as far as that can be known before it is made: what a budget reserves for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cinelet.domain.errors import ValidationError
from cinelet.domain.model import AUTO, ModelReference
from cinelet.domain.request import Task
from cinelet.jobs.database import Database
from cinelet.resilience.hosts import may_be_remote
from cinelet.resilience.prices import Price, PriceTable

if TYPE_CHECKING:
    from cinelet.jobs.estimate import Sample

REMEMBERED_SECONDS = 5.0
"""How old what is known of a model's times may be: the lines of a batch ask for the same few models."""
MAX_REMEMBERED = 100


class ExpectedCosts:
    """Asks the table of prices, and the ledger for times where a price is one for time.

    queue_of: the queue of a model reference. fallbacks: the models that may step in, for each task.
    """

    def __init__(
        self,
        database: Database,
        prices: PriceTable,
        *,
        queue_of: Callable[[str], str],
        fallbacks: Mapping[Task, Sequence[str]],
    ) -> None:
        self._database = database
        self._prices = prices
        self._queue_of = queue_of
        self._fallbacks = fallbacks
        self._remembered: dict[str, tuple[float, Sequence[Sample]]] = {}

    @property
    def currency(self) -> str:
        """The one that all costs are in."""
        return self._prices.currency

    async def of(self, request: Mapping[str, Any], model: str, chosen: Sequence[str] = ()) -> float | None:
        """Return what a request costs at most, None where nobody knows.

        request: as the ledger keeps it; model: that it asks for. That of a fallback model counts where it is higher.
        chosen: the models that may be tried instead, each of whose costs must be known.
        """
        if chosen:
            costs = [await self._cost(request, one) for one in chosen]
            return None if None in costs else max(cost for cost in costs if cost is not None)
        asked = await self._cost(request, model)
        if asked is None or not request.get("fallback", True) or not may_be_remote(ModelReference.parse(model)):
            return asked
        others = [await self._cost(request, other) for other in self._fallbacks.get(Task(request["task"]), ())]
        return max([asked, *(cost for cost in others if cost is not None)])

    def require(self, cost: float | None, model: str, *, currency: str) -> None:
        """Raise `ValidationError` where a budget cannot reserve a cost: it is not known, or is in another currency."""
        if currency != self.currency:
            message = f"The budget of this key is in {currency}, and the table of prices is in {self.currency}"
            raise ValidationError(
                f"{message}; use a key with a budget in {self.currency}", {"model": "Another currency"}
            )
        if cost is None and ModelReference.parse(model) == AUTO:
            message = "This key has a budget, and what some of the models cost that may be chosen is not known"
            todo = "give max_cost, which leaves them out, or name a model that has a price"
            raise ValidationError(f"{message}; {todo}", {"model": "Its cost is not known"})
        if cost is None:
            price = self._price(model)
            why = (
                "depends on how long it takes, and no video of it was made and timed here yet; make one with a key "
                "without a budget, or have a price for each video or each second of it put into the table of prices"
                if price is not None
                else "is in no table of prices; name a model that has a price, such as hf:org/name:provider, or have "
                "it put into the file of CINELET_PRICES"
            )
            message = f"This key has a budget, and what {model} costs {why}"
            raise ValidationError(message, {"model": "Its cost is not known"})

    async def _cost(self, request: Mapping[str, Any], model: str) -> float | None:
        from cinelet.jobs.estimate import Wanted, estimated  # numpy comes with it

        price, wanted, seconds = self._price(model), Wanted.of(request), 0.0
        if price is None:
            return None
        if price.per_compute_second:
            high = estimated(wanted, await self._samples(model)).high
            if high is None:
                return None
            seconds = high
        return price.cost(video_seconds=wanted.duration, seconds=seconds)

    def _price(self, model: str) -> Price | None:
        reference = ModelReference.parse(model)
        if reference.scheme == "hub":
            scheme = "hf" if self._queue_of(model) == "remote" else "local"
            reference = ModelReference(scheme, reference.name)
        return self._prices.price(reference)

    async def _samples(self, model: str) -> Sequence[Sample]:
        from cinelet.jobs.estimator import latest_samples

        now = time.monotonic()
        until, known = self._remembered.get(model, (now, ()))
        if now < until:
            return known
        async with self._database.connection() as connection:
            known = await latest_samples(connection, model)
        self._remembered.pop(model, None)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[model] = (now + REMEMBERED_SECONDS, known)
        return known
