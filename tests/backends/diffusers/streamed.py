"""Group offload with streams, as on a GPU, on a processor: what waits elsewhere is not numbers until it is brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.hooks import group_offloading


@dataclass
class Traffic:
    """What was brought, module by module, and what diffusers was asked for, component by component."""

    brought: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    away: dict[torch.Tensor, torch.Tensor] = field(default_factory=dict)
    """What lies elsewhere, by the tensors that stand for it."""

    def pinned(self, tensor: torch.Tensor, _: bool) -> torch.Tensor:
        """Return what a tensor is brought from."""
        return self.away.get(tensor, tensor.data)

    def take_away(self, group: Any) -> None:
        """Leave no numbers in a group's tensors."""
        for tensor in _tensors(group):
            if tensor.is_floating_point():
                self.away.setdefault(tensor, tensor.data)
                tensor.data = torch.full_like(tensor.data, float("nan"))

    def bring(self, group: Any) -> None:
        """Put the numbers back."""
        self.brought += group.modules
        for tensor in _tensors(group):
            if tensor in self.away:
                tensor.data = self.away.pop(tensor)


class _Stream:
    def synchronize(self) -> None:
        """Have nothing to wait for."""


def stream_on_processor(monkeypatch: Any) -> Traffic:
    """Have diffusers offload from a processor as from a GPU, with streams where they are asked for."""
    traffic = Traffic()
    monkeypatch.setattr("cinelet.backends.diffusers.placement.has_streams", lambda _: True)

    def apply(module: Any, *, use_stream: bool, num_blocks_per_group: Any, **options: Any) -> None:
        traffic.asked.append({"module": module, "use_stream": use_stream, **options})
        options["offload_type"] = group_offloading.GroupOffloadingType(options["offload_type"])
        config = group_offloading.GroupOffloadingConfig(
            **{name: value for name, value in options.items() if name not in {"block_modules", "exclude_kwargs"}},
            num_blocks_per_group=num_blocks_per_group,
            stream=_Stream() if use_stream else None,
            exclude_kwargs=getattr(module, "_skip_keys", None),
        )
        group_offloading._apply_group_offloading(module, config)

    group = group_offloading.ModuleGroup
    monkeypatch.setattr("diffusers.hooks.apply_group_offloading", apply)
    monkeypatch.setattr(group, "_to_cpu", staticmethod(traffic.pinned))
    monkeypatch.setattr(group, "_onload_from_memory", lambda self: traffic.bring(self))  # noqa: PLW0108  (a method)
    monkeypatch.setattr(group, "_offload_to_memory", lambda self: traffic.take_away(self))  # noqa: PLW0108
    return traffic


def _tensors(group: Any) -> list[torch.Tensor]:
    inside = [tensor for module in group.modules for tensor in (*module.parameters(), *module.buffers())]
    return [*inside, *group.parameters, *group.buffers]
