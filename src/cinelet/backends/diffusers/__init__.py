"""Models that run on this machine, through Hugging Face diffusers. The only folder that imports torch, and late."""

from cinelet.backends.diffusers.backend import DiffusersBackend
from cinelet.backends.diffusers.speed import SpeedSettings

__all__ = ["DiffusersBackend", "SpeedSettings"]
