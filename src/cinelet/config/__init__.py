"""Every setting, read from the environment in one place, above all parts that work."""

from cinelet.config.settings import (
    EMBEDDED_MODEL,
    PROVIDER_KEYS,
    SPECIFIED_IMAGE_TO_VIDEO_MODEL,
    SPECIFIED_TEXT_TO_VIDEO_MODEL,
    Config,
    LogLevel,
    Setting,
)

__all__ = [
    "EMBEDDED_MODEL",
    "PROVIDER_KEYS",
    "SPECIFIED_IMAGE_TO_VIDEO_MODEL",
    "SPECIFIED_TEXT_TO_VIDEO_MODEL",
    "Config",
    "LogLevel",
    "Setting",
]
