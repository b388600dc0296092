from __future__ import annotations

from cinelet.domain.model import AUTO, ModelReference
from cinelet.domain.selection import Chosen
from cinelet.resilience.candidates import chosen_candidates

A, B, C = (ModelReference.parse(text) for text in ("hf:org/a:fal-ai", "hf:org/b:fal-ai", "embedded"))


def test_who_takes_over_a_choice_pays_no_model_again_that_failed_before() -> None:
    chosen = [Chosen(model, why="fast") for model in (A, B, C)]
    assert [one.model for one in chosen_candidates(AUTO, chosen, resumed=B)] == [B, A, C]
    assert [one.model for one in chosen_candidates(AUTO, chosen, resumed=B, left=[str(A)])] == [B, C]
