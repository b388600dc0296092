"""cinelet makes videos from a prompt or an image with any Hugging Face video model.

```python
from cinelet import generate

generate("a red circle moving left").save("out.mp4")
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cinelet.assembly import VideoService, get_hf_client
    from cinelet.config import Config
    from cinelet.domain.backend import Backend, Capabilities, Context, FrameRule, GeneratedVideo, Offer
    from cinelet.domain.errors import (
        AllModelsFailedError,
        AuthenticationError,
        CapacityError,
        CineletError,
        CircuitOpenError,
        DeadlineExceededError,
        DeviceLostError,
        FileSizeError,
        GenerationCancelledError,
        HuggingFaceAPIError,
        ModelNotFoundError,
        ModelUnsupportedError,
        NoModelFitsError,
        PaymentRequiredError,
        ProcessingError,
        RateLimitError,
        SubmissionUnknownError,
        ValidationError,
    )
    from cinelet.domain.model import ModelReference
    from cinelet.domain.progress import Progress, Stage
    from cinelet.domain.request import Limits, Task, VideoRequest
    from cinelet.domain.result import Adjustment, Attempt, VideoFacts
    from cinelet.domain.video import VideoResult
    from cinelet.door import generate

_HOMES = {
    "cinelet.assembly": ("VideoService", "get_hf_client"),
    "cinelet.config": ("Config",),
    "cinelet.domain.backend": ("Backend", "Capabilities", "Context", "FrameRule", "GeneratedVideo", "Offer"),
    "cinelet.domain.errors": (
        "AllModelsFailedError",
        "AuthenticationError",
        "CapacityError",
        "CineletError",
        "CircuitOpenError",
        "DeadlineExceededError",
        "DeviceLostError",
        "FileSizeError",
        "GenerationCancelledError",
        "HuggingFaceAPIError",
        "ModelNotFoundError",
        "ModelUnsupportedError",
        "NoModelFitsError",
        "PaymentRequiredError",
        "ProcessingError",
        "RateLimitError",
        "SubmissionUnknownError",
        "ValidationError",
    ),
    "cinelet.domain.model": ("ModelReference",),
    "cinelet.domain.progress": ("Progress", "Stage"),
    "cinelet.domain.request": ("Limits", "Task", "VideoRequest"),
    "cinelet.domain.result": ("Adjustment", "Attempt", "VideoFacts"),
    "cinelet.domain.video": ("VideoResult",),
    "cinelet.door": ("generate",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Adjustment",
    "AllModelsFailedError",
    "Attempt",
    "AuthenticationError",
    "Backend",
    "Capabilities",
    "CapacityError",
    "CineletError",
    "CircuitOpenError",
    "Config",
    "Context",
    "DeadlineExceededError",
    "DeviceLostError",
    "FileSizeError",
    "FrameRule",
    "GeneratedVideo",
    "GenerationCancelledError",
    "HuggingFaceAPIError",
    "Limits",
    "ModelNotFoundError",
    "ModelReference",
    "ModelUnsupportedError",
    "NoModelFitsError",
    "Offer",
    "PaymentRequiredError",
    "ProcessingError",
    "Progress",
    "RateLimitError",
    "Stage",
    "SubmissionUnknownError",
    "Task",
    "ValidationError",
    "VideoFacts",
    "VideoRequest",
    "VideoResult",
    "VideoService",
    "__version__",
    "generate",
    "get_hf_client",
]


def __getattr__(name: str) -> Any:
    # Each name is loaded when it is first used, so that `import cinelet` and `cinelet --help` cost nothing.
    if name == "__version__":
        from importlib.metadata import version

        return version("cinelet")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
