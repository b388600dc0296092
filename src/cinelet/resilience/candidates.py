"""Who may make the video, in which order."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cinelet.domain.backend import Handle
from cinelet.domain.errors import SubmissionUnknownError, ValidationError
from cinelet.domain.model import AUTO, ModelReference
from cinelet.domain.selection import Chosen


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to try. `is_expanded` where it is one of the ways to do it, and not only their common name.

    why: it has its place, where there was a choice.
    """

    model: ModelReference
    is_fallback: bool
    is_expanded: bool = False
    why: str | None = None


def candidates(
    asked: ModelReference, fallbacks: Sequence[ModelReference], *, resumed: ModelReference | None
) -> deque[Candidate]:
    """Return the model that was asked for and its fallbacks, each once.

    resumed: the way that an earlier process had begun. It comes first, and those before it, which had failed, are left
    out; it needs no expansion, so that a paid job is found again also where nobody can say any more who serves it.
    """
    line = [Candidate(model, is_fallback=model != asked) for model in dict.fromkeys((asked, *fallbacks))]
    if resumed is None:
        return deque(line)
    place = next((place for place, candidate in enumerate(line) if is_way_of(candidate.model, resumed)), None)
    first = Candidate(resumed, is_fallback=place != 0, is_expanded=True)
    return deque([first, *line[place or 0 :]])


def chosen_candidates(
    asked: ModelReference, chosen: Sequence[Chosen], *, resumed: ModelReference | None, left: Collection[str] = ()
) -> deque[Candidate]:
    """Return what was chosen; a way that an earlier process had begun is gone on with, whatever would be chosen now.

    left: models whose jobs an earlier process paid for in vain; they are not paid again.
    """
    order = [
        Candidate(
            one.model,
            is_fallback=asked != AUTO and not is_way_of(asked, one.model),
            # Under its own name where nobody could say what it stands for: that is found out again, and told.
            is_expanded=one.model != asked,
            why=one.why,
        )
        for one in chosen
    ]
    if resumed is not None:
        is_fallback = asked != AUTO and not is_way_of(asked, resumed)
        first = Candidate(resumed, is_fallback, is_expanded=True, why="goes on with the job that was begun there")
        order = [first, *(one for one in order if one.model != resumed and str(one.model) not in left)]
    return deque(order)


def resumed_model(handle: Handle | None) -> ModelReference | None:
    """Return whose job a saved handle is, or None without one."""
    if handle is None:
        return None
    try:
        return ModelReference.parse(str(handle.get("model", "")))
    except ValidationError as error:
        message = "The saved handle names no model, so nobody can ask after its job"
        todo = "it may run and be billed, so nothing else is sent: look into the account there"
        raise SubmissionUnknownError(f"{message}; {todo}") from error


def is_way_of(model: ModelReference, way: ModelReference) -> bool:
    """Tell whether `way` is among the references that `model` may be expanded to."""
    return (
        model.scheme in {"hub", way.scheme}
        and (model.name, model.url) == (way.name, way.url)
        and model.provider in {None, way.provider}
    )
