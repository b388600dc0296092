"""The HTTP service: requests in, jobs and videos out. It does no work itself; workers do.

```
app            the application, open for as long as it serves
access         who asks, and what he may do
limits         what a key may use
head_limit     how long the head of a request may be
body_limit     and its body
errors         the one table from errors to status codes
bodies         what can be sent, as OpenAPI describes it
view           a generation as clients see it
waiting        a request that would rather have the video than the job
routes/        one noun a file
supervisor     the workers beside it, started again when they die
```
"""

from cinelet.api.app import make_app

__all__ = ["make_app"]
