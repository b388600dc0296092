"""What storage raises, beside `CapacityError` for a full disk.

```
CineletError
└── StorageError              the store cannot be reached, or failed
    ├── StorageDeniedError    it does not let us: permissions, a read-only folder, credentials
    ├── BlobNotFoundError     nothing has this key
    └── BlobCorruptError      what has this key is not what was stored
```

No message holds a credential or a signed URL.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from cinelet.domain.errors import CapacityError, CineletError

_FULL = {errno.ENOSPC, errno.EFBIG, *(getattr(errno, name) for name in ("EDQUOT",) if hasattr(errno, name))}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class StorageError(CineletError):
    """The store cannot be reached, or failed; the same may succeed later."""

    code = "storage_failed"
    retryable = True


class StorageDeniedError(StorageError):
    """The store refuses: a permission, a read-only folder, a missing credential."""

    code = "storage_denied"
    retryable = False


class BlobNotFoundError(StorageError):
    """Nothing in the store has this key."""

    code = "blob_not_found"
    retryable = False

    def __init__(self, key: str) -> None:
        super().__init__(f"There is no {key} in the store")
        self.key = key


class BlobCorruptError(StorageError):
    """What is stored under this key has another size or SHA-256 than what was put there."""

    code = "blob_corrupt"
    retryable = False

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is damaged: its content is not what was stored; delete it and make it again")
        self.key = key


@contextmanager
def disk_errors(what: str, place: str) -> Iterator[None]:
    """Turn what the operating system says about files into our errors. what: "store video.mp4"; place: the folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _FULL:
            raise CapacityError(f"There is no room to {what} in {place}: {reason}; free some space there") from error
        if error.errno in _DENIED:
            message = f"Cannot {what} in {place}: {reason}; give this user the right to write there"
            raise StorageDeniedError(message) from error
        raise StorageError(f"Cannot {what} in {place}: {reason}") from error
