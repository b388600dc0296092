"""Policies: each is a Backend around a Backend, so that callers cannot tell.

```
FallbackBackend        which models, in which order     one model after another; the result says which ran
  TracedBackend        what is known of it afterwards   each model that is tried is a part of the trace
    LimitBackend       how many at once                 at most so many at each host; the others wait in line
      BreakerBackend   whether a model is asked at all  a host that keeps failing is left alone for a while
        RetryBackend   how often it is asked            only what was surely not accepted, within a budget
          the backend
```

The breaker is outside of the retry: a model that fails three times in one request has failed once, and while its
circuit is open nothing is waited for. The limit is outside of both: to wait in our own line is no failure of the host,
and while a refused request pauses before its retry, none of ours is sent in its place. The fallback chain is outside of
all: an open circuit is a reason to go on.
"""

from cinelet.resilience.breaker import BreakerBackend, CircuitState
from cinelet.resilience.budget import RetryBudgets
from cinelet.resilience.circuit import CircuitRules
from cinelet.resilience.fallback import FallbackBackend
from cinelet.resilience.hosts import circuit_of, host_of
from cinelet.resilience.limit import LimitBackend
from cinelet.resilience.prices import Price, PriceTable
from cinelet.resilience.retry import RetryBackend
from cinelet.resilience.traced import TracedBackend

__all__ = [
    "BreakerBackend",
    "CircuitRules",
    "CircuitState",
    "FallbackBackend",
    "LimitBackend",
    "Price",
    "PriceTable",
    "RetryBackend",
    "RetryBudgets",
    "TracedBackend",
    "circuit_of",
    "host_of",
]
