"""Models that run on this machine, through Hugging Face diffusers. The only folder that imports torch, and late."""

from cinelet.backends.diffusers.backend import DiffusersBackend

__all__ = ["DiffusersBackend"]
