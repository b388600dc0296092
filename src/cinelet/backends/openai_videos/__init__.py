"""Models of another engine that serves `/v1/videos`: SGLang, vLLM-Omni, or another cinelet."""

from cinelet.backends.openai_videos.backend import OpenAIVideosBackend

__all__ = ["OpenAIVideosBackend"]
