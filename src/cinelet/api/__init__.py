"""The HTTP service: requests in, jobs and videos out. It does no work itself; workers do.

```
serving        the process: socket, database, workers, and a stop that loses nothing
supervisor     the workers beside it, started again when they die
app            the application, open for as long as it serves
access         who asks, and what he may do
limits         what a key may use
head_limit     how long the head of a request may be
body_limit     and its body
errors         the one table from errors to status codes
bodies         what can be sent, as OpenAPI describes it; batch_body: many at once
view           a generation as clients see it; batch_view: a batch
model_view     a model as clients see it; model_list: those worth naming; admin_view: what administrators see
file_reply     a video or a picture of it, sent by whoever does it cheapest
ranges         the part of a file that is wanted
waiting        a request that would rather have the video than the job
routes/        one noun a file
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cinelet.api.app import make_app

__all__ = ["make_app"]


def __getattr__(name: str) -> Any:
    # Late: workers are started before what takes a second to load.
    if name == "make_app":
        from cinelet.api.app import make_app

        return make_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
