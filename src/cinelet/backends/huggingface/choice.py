"""Which providers can make a video with a model: the mapping, our own providers, and the credentials, together."""

from __future__ import annotations

from collections.abc import Sequence

from cinelet.backends.huggingface.access import Keyring
from cinelet.backends.huggingface.library import supports
from cinelet.backends.huggingface.mapping import MODEL_TASKS, Listing
from cinelet.backends.huggingface.providers import PROVIDERS
from cinelet.domain.backend import Offer
from cinelet.domain.errors import AuthenticationError, CineletError, ModelUnsupportedError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task

_ORDER = ("live", "staging")
"""Statuses of a listing that is tried unasked, the best first."""


def task_of(listing: Listing) -> Task | None:
    """Return our task that a listing does, or None."""
    return next((task for task in MODEL_TASKS if listing.does(task)), None)


def offer_of(listing: Listing, keyring: Keyring) -> Offer:
    """Return a listing as people are shown it, with what is in the way of using it."""
    return Offer(listing.provider, listing.task, listing.status, listing.provider_model, _why_not(listing, keyring))


def ordered(listings: Sequence[Listing]) -> list[Listing]:
    """Return listings in the Hub's order, but those that are only being tried out last, and broken ones after them."""
    return sorted(listings, key=lambda listing: _ORDER.index(listing.status) if listing.status in _ORDER else 9)


def usable(listings: Sequence[Listing], task: Task, keyring: Keyring) -> list[Listing]:
    """Return those that can be tried for a task, the best first."""
    return [listing for listing in ordered(listings) if listing.does(task) and not _why_not(listing, keyring)]


def chosen(listings: Sequence[Listing], reference: ModelReference, task: Task, keyring: Keyring) -> Listing:
    """Return the listing of the provider that the reference names, whatever its status, or the best one.

    Raises `ModelUnsupportedError` or `AuthenticationError`: what is missing, and what to do.
    """
    if reference.provider is None:
        best = usable(listings, task, keyring)
        if not best:
            raise nobody(listings, reference, task, keyring)
        return best[0]
    named = [listing for listing in listings if listing.provider == reference.provider]
    listing = next((listing for listing in named if listing.does(task)), None)
    if listing is None:
        raise nobody(named, reference, task, keyring, others=listings)
    if not _is_ours(listing):
        raise nobody([listing], reference, task, keyring, others=listings)
    keyring.access(PROVIDERS[listing.provider])
    return listing


def nobody(
    listings: Sequence[Listing],
    reference: ModelReference,
    task: Task,
    keyring: Keyring,
    *,
    others: Sequence[Listing] = (),
) -> CineletError:
    """Return the error where none of these listings can be used for a task. others: what else the mapping has."""
    doing = [listing for listing in listings if listing.does(task)]
    locked = [PROVIDERS[listing.provider] for listing in doing if _is_ours(listing) and listing.status in _ORDER]
    if locked:
        ways = "; ".join(f"{provider.name}: {keyring.why_not(provider)}" for provider in locked)
        return AuthenticationError(f"{reference} cannot be called: {ways}")
    who = f"{reference.provider} does not serve" if reference.provider else "No provider serves"
    message = f"{who} {reference.name} for {task}"
    reasons = [f"{listing.provider} ({_why_not(listing, keyring)})" for listing in doing]
    reasons += [f"{listing.provider} serves it for {listing.task}" for listing in listings if not listing.does(task)]
    if reasons:
        message += f": {', '.join(reasons)}"
    elsewhere = [other.provider for other in others if other.does(task) and other.provider != reference.provider]
    if elsewhere:
        message += f"; {', '.join(elsewhere)} {'does' if len(elsewhere) == 1 else 'do'}"
    todo = f"run it on this machine with local:{reference.name}, or deploy an endpoint and give its https:// address"
    return ModelUnsupportedError(f"{message}; {todo}", str(reference))


def _is_ours(listing: Listing) -> bool:
    task = task_of(listing)
    return listing.provider in PROVIDERS and task is not None and supports(listing.provider, task)


def _why_not(listing: Listing, keyring: Keyring) -> str:
    if task_of(listing) is None:
        return f"its task is {listing.task}"
    if listing.provider not in PROVIDERS:
        return "this version does not speak to it"
    if not _is_ours(listing):
        return f"it takes no requests for {task_of(listing)}"
    if listing.status not in _ORDER:
        return f"its status at the Hub is {listing.status}"
    return keyring.why_not(PROVIDERS[listing.provider])
