"""What can go wrong with work that outlives the process.

```
CineletError
├── DatabaseError(message)                    the database cannot be used as it is; somebody must act
│   ├── DatabaseUnavailableError              it does not answer now; the same call may succeed later
│   └── SchemaVersionError                    it belongs to a newer cinelet
├── ClaimLostError(generation_id, attempt)    another worker has the generation, or it has ended
├── NoWorkerError                             no worker runs that could do it
├── WorkerLostError                           the worker that was to do it has ended
└── ValidationError
    └── IdempotencyConflictError              the key was used before, for another request
```
"""

from __future__ import annotations

from typing import Any

from cinelet.domain.errors import CineletError, ValidationError


class DatabaseError(CineletError):
    """The database cannot be used as it is; the message says what to do."""

    code = "database_unusable"


class DatabaseUnavailableError(DatabaseError):
    """The database does not answer now."""

    code = "database_unavailable"
    retryable = True


class SchemaVersionError(DatabaseError):
    """The database was made by a newer cinelet than this one."""

    code = "database_newer"


class ClaimLostError(CineletError):
    """A worker wrote about a generation that it no longer has; nothing was written."""

    code = "claim_lost"

    def __init__(self, generation_id: str, attempt: int) -> None:
        super().__init__(f"Attempt {attempt} of {generation_id} has lost its claim; nothing was written")
        self.generation_id = generation_id
        self.attempt = attempt

    def facts(self) -> dict[str, Any]:
        """Return the generation and the attempt."""
        return {"generation_id": self.generation_id, "attempt": self.attempt}


class NoWorkerError(CineletError):
    """No worker for local models was heard of lately."""

    code = "no_worker"
    retryable = True

    def __init__(self) -> None:
        message = "No worker for local models runs on this database"
        super().__init__(f"{message}; start one with cinelet serve, or with cinelet worker")


class WorkerLostError(CineletError):
    """A worker ended before it had done what it was told to."""

    code = "worker_lost"
    retryable = True

    def __init__(self) -> None:
        super().__init__("The worker has ended, or says nothing any more, before it had done this; its log says why")


class IdempotencyConflictError(ValidationError):
    """An idempotency key came again with another request."""

    code = "idempotency_conflict"

    def __init__(self) -> None:
        message = "This idempotency key was used for another request; use a new key for a new request"
        super().__init__(message, {"idempotency_key": "Used for another request"})
