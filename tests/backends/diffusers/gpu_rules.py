"""A processor that computes in a GPU's precision, and refuses what a GPU would."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.nn import functional

from cinelet.backends.diffusers import model_cache
from cinelet.backends.diffusers.families import Family
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.backends.diffusers.precision import Precision, precisions

_NORMS = ("layer_norm", "group_norm")
_PRODUCTS = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


@contextmanager
def as_on_a_gpu(*, half: str) -> Iterator[None]:
    """Let models be loaded and run as on CUDA; half: "bfloat16" as on a new one, or "float16" as on an old one.

    An old one computes as a new one does with weights that were made in float16.
    """

    def of_cuda(_: str, folder: ModelFolder, family: Family) -> tuple[Precision, ...]:
        return precisions("cuda", folder, family)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_bf16_supported", lambda **_: half == "bfloat16")
        patch.setattr(model_cache, "precisions", of_cuda)
        for name in _NORMS:
            patch.setattr(functional, name, _of_one_type(getattr(functional, name)))
        for name in _PRODUCTS:
            patch.setattr(functional, name, _of_one_type(_in_float32(getattr(functional, name))))
        attention = functional.scaled_dot_product_attention
        patch.setattr(functional, "scaled_dot_product_attention", _of_masks_of_its_type(attention))
        yield


def _of_one_type(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse weights of another type than the input's. A processor's norms take float32 ones besides a half."""

    @functools.wraps(function)
    def checked(given: torch.Tensor, *others: Any, **named: Any) -> Any:
        for other in (*others, *named.values()):
            if isinstance(other, torch.Tensor) and other.dtype != given.dtype:
                raise RuntimeError(f"{function.__name__} of {given.dtype} with weights of {other.dtype}")
        return function(given, *others, **named)

    return checked


def _of_masks_of_its_type(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse masks that are neither of booleans nor of the query's type, as a GPU's faster kernels do."""

    @functools.wraps(function)
    def checked(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Any = None, **named: Any
    ) -> Any:
        if attn_mask is not None and attn_mask.dtype not in {torch.bool, query.dtype}:
            raise RuntimeError(f"attention of {query.dtype} with a mask of {attn_mask.dtype}")
        return function(query, key, value, attn_mask, **named)

    return checked


def _in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in float32 and round: processors without instructions for a half take thirty times as long in it."""

    @functools.wraps(function)
    def rounded(given: torch.Tensor, weight: torch.Tensor, bias: Any = None, *others: Any, **named: Any) -> Any:
        exact = function(given.float(), weight.float(), None if bias is None else bias.float(), *others, **named)
        return exact.to(given.dtype)

    return rounded
