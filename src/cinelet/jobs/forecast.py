"""What a video would take before it is asked for: which model, why, how long, how much, and what would be changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cinelet.domain.backend import Capabilities
from cinelet.domain.errors import CineletError
from cinelet.domain.foresight import foreseen
from cinelet.domain.model import AUTO, ModelReference
from cinelet.domain.request import VideoRequest
from cinelet.domain.result import Adjustment
from cinelet.domain.selection import Chosen, LeftOut, Selects, selected
from cinelet.jobs.durable import DurableJobs
from cinelet.jobs.estimate import Estimate, Wanted
from cinelet.jobs.estimator import Estimator
from cinelet.resilience.prices import PriceTable


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of a request. order: the models that would be tried; the first is what the rest is about.

    waiting: seconds until it begins, None where that is not known. cost: expected, in `currency`, None where nobody
    knows; cost_basis says why. adjustments: what is known of them without loading the model.
    """

    requested_model: str
    model: str
    estimate: Estimate
    waiting: float | None
    order: tuple[Chosen, ...]
    left_out: tuple[LeftOut, ...]
    cost: float | None
    currency: str
    cost_basis: str
    adjustments: tuple[Adjustment, ...]


async def forecast(jobs: DurableJobs, work: VideoRequest, wanted: Wanted, *, priority: int = 0) -> Forecast:
    """Return what would become of a resolved request. Nothing is made or loaded. Raises `NoModelFitsError`."""
    order, left_out = await _chosen(jobs, work)
    model = order[0].model
    known = await _known(jobs, model)
    if known is not None and known.size_rule is not None and wanted.size is not None and not work.upscaler:
        wanted = replace(wanted, size=known.size_rule.nearest(*wanted.size))
    estimator = Estimator(jobs.database, await jobs.roster.list())
    estimate = await estimator.estimate(str(model), wanted)
    seconds = order[0].seconds if estimate.seconds is None else estimate.seconds
    prices = jobs.service.prices
    cost, cost_basis = _cost(prices, model, video_seconds=work.duration, seconds=seconds)
    return Forecast(
        requested_model=str(work.model),
        model=str(model),
        estimate=estimate,
        waiting=await estimator.waiting(jobs.queue.queue_of(str(model)), priority=priority),
        order=order,
        left_out=left_out,
        cost=cost,
        currency=prices.currency,
        cost_basis=cost_basis,
        adjustments=() if known is None else foreseen(work, known),
    )


async def _chosen(jobs: DurableJobs, work: VideoRequest) -> tuple[tuple[Chosen, ...], tuple[LeftOut, ...]]:
    backend, asked = jobs.service.backend, ModelReference.parse(str(work.model))
    if isinstance(backend, Selects) and backend.chooses(work):
        selection = await selected(backend, work)
        if selection is not None:
            return selection.order, selection.left_out
    return (Chosen(asked, "as it is named"),), ()


def _cost(
    prices: PriceTable, model: ModelReference, *, video_seconds: float, seconds: float | None
) -> tuple[float | None, str]:
    """Return what is expected, and what that is by."""
    price = prices.price(model)
    if price is None:
        has_table = prices.models or prices.providers or prices.local
        says = f"the price table says nothing of {model}" if has_table else "there is no price table (CINELET_PRICES)"
        return None, says
    if price.per_compute_second and seconds is None:
        return None, "its price is by the time that it takes, of which nothing is known yet"
    parts = {"a video": price.per_video, "a second of video": price.per_video_second}
    parts["a second of computing"] = price.per_compute_second
    said = " and ".join(f"{amount:g} {what}" for what, amount in parts.items() if amount) or "0"
    return price.cost(video_seconds=video_seconds, seconds=seconds or 0.0), f"{said}, by the price table"


async def _known(jobs: DurableJobs, model: ModelReference) -> Capabilities | None:
    """Return what the model can do; None where it cannot be asked."""
    backend = jobs.service.backend
    if model == AUTO or not isinstance(backend, Selects):
        return None
    try:
        return await backend.known_capabilities(model)
    except CineletError:
        return None
