"""What takes the place of packages that some pipelines want and no test has."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cinelet.backends.diffusers import arguments
from tests.tiny_pipelines.cosmos import LetAllPass

PIPELINES = "diffusers.pipelines.cosmos.pipeline_"
GUARDED = ("cosmos_text2world", "cosmos_video2world", "cosmos2_video2world", "cosmos2_5_predict")
REPLACED = ("cosmos_guardrail", "torchvision")


def resize(picture: torch.Tensor, size: list[int], **_: Any) -> torch.Tensor:
    return torch.nn.functional.interpolate(picture, size=size, mode="nearest")


def to_tensor(picture: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy()).float() / 255


@contextmanager
def stand_ins() -> Iterator[None]:
    """Let nothing be missing: a guardrail that lets all pass, and the two functions of torchvision that are called."""
    functional = SimpleNamespace(resize=resize, to_tensor=to_tensor)
    transforms = SimpleNamespace(functional=functional, InterpolationMode=SimpleNamespace(NEAREST="nearest"))
    network = importlib.import_module("diffusers.models.transformers.transformer_cosmos")
    predict = importlib.import_module(f"{PIPELINES}cosmos2_5_predict")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arguments, "find_spec", lambda name: name in REPLACED or find_spec(name))
        for name in GUARDED:
            patch.setattr(importlib.import_module(f"{PIPELINES}{name}"), "CosmosSafetyChecker", LetAllPass)
        patch.setattr(network, "transforms", transforms, raising=False)
        patch.setattr(predict, "torchvision", SimpleNamespace(transforms=transforms), raising=False)
        yield
